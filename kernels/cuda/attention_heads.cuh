/*
 * attention_heads.cuh - what prompts and single rows have in common when each head has keys
 *
 * DIM is 64, 128 or 256; a smaller head is padded with zeros. Shared memory, DIM = 128: a tile is
 * 17 KB. Decode: one for each warp, 4 KB of queries, 8 KB of sums, 81 KB; prefill: two, 17 KB of
 * queries, 33 KB of sums, 84 KB. So two blocks share an SM of an H200, and one computes while the
 * other waits for memory.
 */
#ifndef KERNELS_CUDA_ATTENTION_HEADS_CUH
#define KERNELS_CUDA_ATTENTION_HEADS_CUH

#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

/* Of wide heads two warps of a prompt take the same queries, and half of the values' columns each:
 * more sums than that do not fit into registers. */
template <int DIM> struct plan {
    static constexpr int stride = DIM + PAD, tile = ATTENTION_TILE * stride;
    static constexpr int decode_bytes = (WARPS * tile + 16 * stride) * 2 + 16 * (DIM + 2) * 4;
    static constexpr int columns = DIM > 128 ? 128 : DIM, share = DIM / columns; /* of prefill */
    static constexpr int queries = 16 * WARPS / share;
    static constexpr int prefill_bytes =
        (2 * tile + queries * stride) * 2 + WARPS * 16 * (columns + 2) * 4;
    static constexpr int blocks = DIM > 128 ? 1 : 2; /* on an SM */
    static constexpr int most_bytes = (DIM > 128 ? WIDE_SHARED_BYTES : LEAST_SHARED_BYTES) - 256;
    static_assert(decode_bytes <= most_bytes && prefill_bytes <= most_bytes, "");
};

/* A warp's tile: scores become weights, the A of the product with V. */
template <int DIM>
DEVICE void weigh_tile(const struct attention_args &args, const struct scope &s, int first_query,
                       int pos, const uint16_t *queries, const uint16_t *keys, int dim,
                       uint32_t a[ATTENTION_TILE / 16][4], struct pair_of *max, struct pair_of *sum)
{
    float c[SCORE_TILES][4];
    score<SCORE_TILES>(c, queries, keys, dim, DIM + PAD);
    soften_tile(args, s, first_query, pos, c, max, sum);
#pragma unroll
    for (int k = 0; k < ATTENTION_TILE / 16; k++)
        weights_of(c, k, a[k]);
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
