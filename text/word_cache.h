/*
 * word_cache.h - ids of the short pieces encoded last
 *
 * 16 Ki words of one cache line each, replaced on collision: what natural text repeats. It
 * repeats what the model gave, so ids do not depend on it. One thread, one model.
 */
#ifndef TEXT_WORD_CACHE_H
#define TEXT_WORD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "text/hash.h"
#include "text/token_ids.h"

enum { WORD_CACHE_WORDS = 1 << 14, WORD_CACHE_BYTES = 30, WORD_CACHE_IDS = 8 };

struct word_cache_word {
    uint8_t len; /* 0: free */
    uint8_t num_ids;
    char bytes[WORD_CACHE_BYTES];
    int32_t ids[WORD_CACHE_IDS];
};

struct word_cache {
    struct word_cache_word *words; /* [WORD_CACHE_WORDS] */
};

/* Returns 0 or -ENOMEM. */
int word_cache_init(struct word_cache *cache);
void word_cache_finish(struct word_cache *cache);

/* Where a piece of 1 to WORD_CACHE_BYTES bytes is or would be. */
static inline struct word_cache_word *word_cache_at(const struct word_cache *cache,
                                                    const char *piece, size_t len)
{
    return &cache->words[hash_bytes(piece, len) % WORD_CACHE_WORDS];
}

/* Append the ids of the piece if it is there; `ids` has room for WORD_CACHE_IDS. */
static inline bool word_cache_get(const struct word_cache_word *word, const char *piece, size_t len,
                                  struct token_ids *ids)
{
    if (word->len != len || memcmp(word->bytes, piece, len) != 0)
        return false;
    memcpy(ids->ids + ids->num, word->ids, sizeof(word->ids));
    ids->num += word->num_ids;
    return true;
}

/* Keep a piece of up to WORD_CACHE_IDS ids. */
void word_cache_put(struct word_cache_word *word, const char *piece, size_t len, const int32_t *ids,
                    size_t num);

#endif
