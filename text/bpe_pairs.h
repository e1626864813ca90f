/*
 * bpe_pairs.h - the rank of a pair of adjacent symbols
 *
 * One 64-bit word per pair in a table with open addressing, so that a probe is one load:
 * left id, right id and rank in 20, 20 and 24 bits.
 */
#ifndef TEXT_BPE_PAIRS_H
#define TEXT_BPE_PAIRS_H

#include <stdint.h>

#include "text/bpe.h"
#include "text/hash.h"

enum { BPE_PAIRS_RANK_BITS = 24, BPE_PAIRS_ID_BITS = 20 };

#define BPE_PAIRS_NONE ((1u << BPE_PAIRS_RANK_BITS) - 1) /* no such pair; not a legal rank */
#define BPE_PAIRS_FREE UINT64_MAX                        /* a slot without a pair */

static inline uint64_t bpe_pairs_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << BPE_PAIRS_ID_BITS | (uint32_t)right;
}

/* The slot of the pair, or the free one where it belongs. */
static inline uint64_t *bpe_pairs_slot(const struct bpe *bpe, uint64_t key)
{
    size_t at = hash_mix(0, key) & (bpe->num_slots - 1);
    while (bpe->pairs[at] != BPE_PAIRS_FREE && bpe->pairs[at] >> BPE_PAIRS_RANK_BITS != key)
        at = (at + 1) & (bpe->num_slots - 1);
    return &bpe->pairs[at];
}

static inline uint32_t bpe_pairs_rank(const struct bpe *bpe, int32_t left, int32_t right)
{
    return (uint32_t)(*bpe_pairs_slot(bpe, bpe_pairs_key(left, right)) & BPE_PAIRS_NONE);
}

#endif
