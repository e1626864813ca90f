#include "text/word_cache.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert(sizeof(struct word_cache_word) == 64, "a word is one cache line");

int word_cache_init(struct word_cache *cache)
{
    cache->words = aligned_alloc(sizeof(*cache->words), WORD_CACHE_WORDS * sizeof(*cache->words));
    if (cache->words == NULL)
        return -ENOMEM;
    memset(cache->words, 0, WORD_CACHE_WORDS * sizeof(*cache->words));
    return 0;
}

void word_cache_finish(struct word_cache *cache)
{
    free(cache->words);
    *cache = (struct word_cache){ 0 };
}

void word_cache_put(struct word_cache_word *word, const char *piece, size_t len, const int32_t *ids,
                    size_t num)
{
    if (num > WORD_CACHE_IDS)
        return;
    word->len = (uint8_t)len;
    word->num_ids = (uint8_t)num;
    memcpy(word->bytes, piece, len);
    memcpy(word->ids, ids, num * sizeof(*ids));
}
