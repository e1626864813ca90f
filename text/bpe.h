/*
 * bpe.h - byte pair encoding of one piece: merge the adjacent pair of lowest rank, the leftmost
 * of equals, until no pair has a rank
 *
 * A pair's rank is its line in `merges`. Short pieces rescan a small array of ranks, longer ones
 * use a heap: O(n log n) in the piece's bytes, never O(n^2).
 * Source: Sennrich et al., arXiv:1508.07909; ignore_merges and unk_token as in HF tokenizers.
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

struct bpe {
    uint64_t *pairs; /* [num_slots], open addressing: left id, right id, rank in 20, 20, 24 bits */
    size_t num_slots;
    int32_t *merged;       /* [number of merges]: id that the pair of this rank becomes */
    int32_t byte_ids[256]; /* -1: the vocabulary has no token for the byte */
    int32_t unk_id;        /* for such bytes; -1: they are dropped */
    bool fuse_unk;         /* a run of them is one unk */
    bool ignore_merges;    /* a piece that is a token stays whole */
};

struct bpe_work;

/*
 * Read `model` (merges and options), whose vocab is an object of checked ids.
 *
 * Returns 0; -EINVAL (a merge that does not resolve, by its number), -ENOTSUP (an option that we
 * do not have, by name), -ENOMEM.
 */
int bpe_read(struct bpe *bpe, const json_t *model, struct error *err);
void bpe_finish(struct bpe *bpe);

/* Word cache and merge arrays of one thread. */
int bpe_work_create(struct bpe_work **ret_work);
void bpe_work_destroy(struct bpe_work *work);

/* Append the ids of a piece of `len` >= 1 bytes, at most INT32_MAX. Returns 0, -ENOMEM. */
int bpe_encode(const struct bpe *bpe, const struct vocab *vocab, struct bpe_work *work,
               const char *piece, size_t len, struct token_ids *ids);

/* Room for `num` more ids. Returns 0 or -ENOMEM. */
int bpe_reserve(struct token_ids *ids, size_t num);

#endif
