/*
 * bpe.h - byte pair encoding of one piece: merge the adjacent pair of lowest rank, the leftmost
 * of equals, until no pair has a rank
 *
 * A pair's rank is its line in `merges`. The symbols to begin with are bytes, or characters as
 * SentencePiece has it; a character without a token becomes tokens of its bytes ("<0x0A>") or
 * unk. Short pieces rescan a small array of ranks, longer ones use a heap: O(n log n) in the
 * piece's bytes, never O(n^2).
 *
 * Nothing cuts the text of a SentencePiece model before it is merged, but where no token holds
 * x before U+2581, no merge ever joins the two, and merging the parts gives the same ids: such
 * places are cut, so that words come from the cache.
 * Source: Sennrich et al., arXiv:1508.07909; ignore_merges and unk_token as in HF tokenizers.
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/pieces.h"
#include "text/token_ids.h"
#include "text/word_cache.h"

struct char_ids;

struct bpe {
    uint64_t *pairs; /* [num_slots], open addressing: left id, right id, rank in 20, 20, 24 bits */
    size_t num_slots;
    int32_t *merged;        /* [number of merges]: id that the pair of this rank becomes */
    struct char_ids *chars; /* symbols to begin with; NULL: bytes */
    int32_t byte_ids[256];  /* of the bytes; -1: the vocabulary has no token for the byte */
    int32_t unk_id;         /* for what has no token; -1: it is dropped */
    bool fuse_unk;          /* a run of it is one unk */
    bool byte_fallback;     /* characters without a token become their bytes' tokens */
    bool ignore_merges;     /* a piece that is a token stays whole */
    bool cuts;              /* pieces are cut before U+2581 but ... */
    bool joins[256];        /* ... behind a character that ends in this byte */
};

struct bpe_work;

/*
 * Read `model` (merges and options). `texts` are the tokens as the file spells them.
 *
 * Returns 0; -EINVAL (a merge that does not resolve, by its number), -ENOTSUP (an option that we
 * do not have, by name), -ENOMEM.
 */
int bpe_read(struct bpe *bpe, const json_t *model, const struct pieces *texts, bool byte_level,
             struct error *err);
void bpe_finish(struct bpe *bpe);

/* Merge arrays of one thread. */
int bpe_work_create(struct bpe_work **ret_work);
void bpe_work_destroy(struct bpe_work *work);

/* Append the ids of a piece of `len` >= 1 bytes, at most INT32_MAX. Returns 0, -ENOMEM. */
int bpe_encode(const struct bpe *bpe, const struct pieces *pieces, struct word_cache *cache,
               struct bpe_work *work, const char *piece, size_t len, struct token_ids *ids);

/* Merge the `*num` symbols at `ids` in place; *num becomes what is left. Returns 0, -ENOMEM. */
int bpe_merge(const struct bpe *bpe, struct bpe_work *work, int32_t *ids, size_t *num);

/* Can text vanish without leaving a token? */
bool bpe_loses_text(const struct bpe *bpe);

#endif
