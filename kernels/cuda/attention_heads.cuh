/*
 * attention_heads.cuh - what prompts and single rows have in common when each head has keys
 *
 * DIM is 64, 128 or 256; a smaller head is padded with zeros. Shared memory, DIM = 128: decode
 * 4 x 34 KB + 4 KB of queries; prefill 2 x 34 KB + 17 KB of queries + 33 KB of sums.
 */
#ifndef KERNELS_CUDA_ATTENTION_HEADS_CUH
#define KERNELS_CUDA_ATTENTION_HEADS_CUH

#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

/* Wide heads: V takes the place of K, and a prompt's block has two warps and one stage. */
template <int DIM> struct plan {
    static constexpr bool is_wide = DIM > 128;
    static constexpr int stride = DIM + PAD, tile = ATTENTION_TILE * stride;
    static constexpr int per_warp = is_wide ? tile : 2 * tile; /* of decode */
    static constexpr int decode_bytes = (WARPS * per_warp + 16 * stride) * 2 + 16 * (DIM + 2) * 4;
    static constexpr int warps = is_wide ? 2 : 4, stages = is_wide ? 1 : 2; /* of prefill */
    static constexpr int threads = 32 * warps;
    static constexpr int prefill_bytes =
        (stages * 2 * tile + 16 * warps * stride) * 2 + warps * 16 * (DIM + 2) * 4;
    static_assert(decode_bytes <= LEAST_SHARED_BYTES && prefill_bytes <= LEAST_SHARED_BYTES, "");
};

/* The tile of a warp: its scores become weights. */
template <int DIM>
DEVICE void score_tile(const struct attention_args &args, const struct scope &s, int first_query,
                       int pos, const uint16_t *queries, const uint16_t *keys, int dim,
                       float c[SCORE_TILES][4], struct pair_of *max, struct pair_of *sum)
{
#pragma unroll
    for (int n = 0; n < SCORE_TILES; n++)
        score_block(c[n], queries, keys + 8 * n * (DIM + PAD), dim, DIM + PAD, lane_of());
    soften_tile(args, s, first_query, pos, c, max, sum);
}

static int tiles_of_heads(const struct attention_args *a)
{
    const int group = a->num_heads / a->pages.num_kv_heads;
    return a->pages.num_kv_heads * ceil_div(group, a->heads_per_tile);
}

/* The blocks share out the parts of each kv head and tile of heads. */
static inline dim3 grid_of(const struct attention_args *a)
{
    return dim3(a->grid, tiles_of_heads(a));
}

#endif
