/*
 * attention_decode.cu - attention of single rows over pages
 *
 * A block of 4 warps takes (row, kv head, one span of 256 positions). Each warp brings one tile of
 * 64 positions, K and V, with cp.async, scores all query heads of the group as one mma tile, and
 * leaves the tile's sums in shared memory; the block combines the four in order. Several spans of a
 * row meet in the last block that finishes. KV is read once: 4 d bytes per position and kv head in
 * f16 and bf16, 2 d in FP8; partial sums add 1.6 % at d = 128. Loads of one part do not overlap with
 * arithmetic of another but for the blocks beside it on the SM: expected 65 to 80 % of the bandwidth
 * in f16, and since widening takes one and a half times as many instructions as the products do,
 * 55 to 65 % in FP8, of half the bytes.
 */
#include "kernels/cuda/attention_heads.cuh"

/* One plane of a warp's tile, and the padding of its rows. */
template <int DIM>
DEVICE void bring_tile(const struct attention_args &args, const struct scope &s, int pos, int plane,
                       uint16_t *to)
{
    load_tile(args, s, pos, plane, to, DIM + PAD, lane_of(), 32);
    copy_commit();
    clear_tail(to, ATTENTION_TILE, args.pages.head_dim, DIM, DIM + PAD, lane_of(), 32);
}

/* One span, a tile per warp; its sums are at `tiles` in the end. */
template <int DIM>
DEVICE void reduce_span(const struct attention_args &args, const struct scope &s, int span,
                        const uint16_t *queries, uint16_t *tiles, int dim)
{
    typedef struct plan<DIM> plan;
    const int warp = (int)threadIdx.x / 32, pos = span * SPAN_POSITIONS + warp * ATTENTION_TILE;
    uint16_t *keys = tiles + warp * plan::per_warp;
    uint16_t *values = plan::is_wide ? keys : keys + plan::tile;
    struct running<DIM> r;
    clear<DIM>(r);
    if (pos < s.end && pos + ATTENTION_TILE > s.low) {
        float c[SCORE_TILES][4];
        struct pair_of max, sum;
        bring_tile<DIM>(args, s, pos, 0, keys);
        if (!plan::is_wide)
            bring_tile<DIM>(args, s, pos, 1, values);
        copy_wait<plan::is_wide ? 0 : 1>();
        widen_tile(args.pages, keys, DIM + PAD, lane_of(), 32);
        warp_sync();
        score_tile<DIM>(args, s, 0, pos, queries, keys, dim, c, &max, &sum);
        warp_sync();
        if (plan::is_wide)
            bring_tile<DIM>(args, s, pos, 1, values);
        copy_wait<0>();
        widen_tile(args.pages, values, DIM + PAD, lane_of(), 32);
        warp_sync();
        add_tile<DIM>(r, c, max, sum, values, DIM + PAD);
        warp_sync();
    }
    store_running<DIM>(r, (float *)keys); /* over K, which is used up */
    block_sync();
    for (int w = 1; w < WARPS; w++)
        join_sums((float *)tiles, (const float *)(tiles + w * plan::per_warp), DIM,
                  (int)threadIdx.x, THREADS);
}

/* The parts of the list, shared out over the blocks: one span each, or all where a row has no room
 * for partial sums. */
template <int DIM>
KERNEL(THREADS, 1) decode_kernel(const struct attention_args args)
{
    DYNAMIC_SHARED(shared);
    uint16_t *tiles = (uint16_t *)shared;
    uint16_t *queries = tiles + WARPS * plan<DIM>::per_warp;
    float *total = (float *)(queries + 16 * plan<DIM>::stride);
    const int num = args.work->num_decode, y = (int)blockIdx.y, thread = (int)threadIdx.x;
    const int dim = (args.pages.head_dim + 15) / 16 * 16;
    const struct attention_part *parts = parts_at(args, args.work->decode);

    for (int i = (int)blockIdx.x; i < num; i += (int)gridDim.x) {
        const struct scope s = scope_of(args, parts[i], y);
        load_queries(args, s, 0, 16, dim, queries, DIM + PAD, thread, THREADS);
        clear_sums(total, DIM, thread, THREADS);
        block_sync();
        for (int span = s.part.span_from; span < s.part.span_to; span++) {
            reduce_span<DIM>(args, s, span, queries, tiles, dim);
            join_sums(total, (const float *)tiles, DIM, thread, THREADS);
        }
        finish_part(args, s, total, DIM, args.pages.head_dim, y, THREADS);
    }
}

extern "C" void attention_decode(const struct launch *launch, const void *args)
{
    const struct attention_args *a = (const struct attention_args *)args;
    const dim3 grid = grid_of(a);
    if (a->pages.head_dim <= 64)
        launch_kernel(decode_kernel<64>, grid, THREADS, plan<64>::decode_bytes, launch, *a);
    else if (a->pages.head_dim <= 128)
        launch_kernel(decode_kernel<128>, grid, THREADS, plan<128>::decode_bytes, launch, *a);
    else
        launch_kernel(decode_kernel<256>, grid, THREADS, plan<256>::decode_bytes, launch, *a);
}
