/*
 * attend.h - K and V of a block of 64 positions, for attention.c: widened once for all queries of a
 * tile, or read from the pages where one row's few queries are all there is
 *
 * Both ways sum in the same order with the same operations: a score over the head's values, each by
 * one FMA from 0 on; a value's column over positions, each by one FMA. So they have the same bits.
 */
#ifndef KERNELS_CPU_SIMD_ATTEND_H
#define KERNELS_CPU_SIMD_ATTEND_H

#include "kernels/cpu/simd/ops.h"

/* VEC_LANES consecutive values of a plane from element `i` on, whatever lies behind; those of Q8_0
 * without their scale. */
static ALWAYS_INLINE vec attend_load(const enum dtype dtype, const unsigned char *values, int64_t i)
{
    switch (dtype) {
    case DTYPE_F16:
        return vec_load_f16((const uint16_t *)(const void *)values + i);
    case DTYPE_BF16:
        return vec_load_bf16((const uint16_t *)(const void *)values + i);
    case DTYPE_F8_E4M3:
        return vec_load_e4m3(values + i);
    case DTYPE_Q8_0:
        return vec_load_s8(values + i);
    default:
        return vec_load((const float *)(const void *)values + i);
    }
}

/* Positions [from, to) of the tile's kv head; that at `first` is the scratch's first. */
void SIMD(attend_widen)(const struct attention_args *args, const struct attention_tile *tile,
                        int32_t first, int32_t from, int32_t to, struct attention_scratch *scratch);

/* Whether a tile's queries read pages directly. */
bool SIMD(attend_is_direct)(const struct attention_args *args, const struct attention_tile *tile);

/* Such a tile's scores of positions [from, to) of the block at `first`; others of the block get
 * some that mean nothing. And acc += p V over these positions. */
void SIMD(attend_scores)(const struct attention_args *args, const struct attention_tile *tile,
                         int32_t first, int32_t from, int32_t to,
                         struct attention_scratch *scratch);
void SIMD(attend_values)(const struct attention_args *args, const struct attention_tile *tile,
                         int32_t first, int32_t from, int32_t to,
                         const struct attention_scratch *scratch, const struct attention_sum *sum);

/* Ask for the page of position `pos` where the tile sees it. Pages lie anywhere, so the processor's
 * own prefetcher starts anew in each. */
static inline void attend_ask(const struct attention_args *args, const struct attention_tile *tile,
                              int32_t pos)
{
    enum { MAX_BYTES = 16384 }; /* of a plane: it needs no help within long ones */
    const struct kv_pool *pool = args->pool;
    if (pos > attention_pos(tile, tile->num_rows - 1) || pool->plane_bytes > MAX_BYTES ||
        pool->layout.latent_dim > 0)
        return;
    const int32_t block = attention_block(args, tile, pos);
    const unsigned char *keys = kv_keys(pool, block, args->layer, tile->kv_head);
    for (size_t i = 0; i < 2 * pool->plane_bytes; i += 64)
        __builtin_prefetch(keys + i, 0, 2);
}

#endif
