/*
 * attention_decode.cu - attention of single rows over pages
 *
 * A block of 4 warps takes (row, kv head, one span of 256 positions). Each warp takes one tile of
 * 64 positions: K comes with cp.async, all query heads of the group are scored as one mma tile, V
 * comes to where K was, and the tile's sums stay in shared memory; the block combines the four in
 * order. Several spans of a row meet in the last block that finishes. KV is read once: 4 d bytes
 * per position and kv head in f16 and bf16, 2 d in FP8; partial sums add 1.6 % at d = 128.
 *
 * A block's 136 KB at d = 128 take 6,800 cycles of an SM's share of an H200's bandwidth; waiting
 * for the first bytes twice, products and joining are about 5,000 in which the other block on the
 * SM brings its own: expected 75 to 85 % of the bandwidth in f16, and since widening takes one and
 * a half times as many instructions as the products do, 60 to 70 % in FP8, of half the bytes.
 */
#include "kernels/cuda/attention_heads.cuh"

/* One plane of a warp's tile, when all its lanes have left the one before. */
template <int DIM>
DEVICE void bring_tile(const struct attention_args &args, const struct scope &s, int pos, int plane,
                       uint16_t *tile)
{
    warp_sync();
    load_tile(args, s, pos, plane, tile, DIM + PAD, lane_of(), 32);
    copy_commit();
    clear_tail(tile, ATTENTION_TILE, args.pages.head_dim, DIM, DIM + PAD, lane_of(), 32);
    copy_wait<0>();
    widen_tile(args.pages, tile, DIM + PAD, lane_of(), 32);
    warp_sync();
}

/* One span, a tile per warp; its sums are at `tiles` in the end. */
template <int DIM>
DEVICE void reduce_span(const struct attention_args &args, const struct scope &s, int span,
                        const uint16_t *queries, uint16_t *tiles, int dim)
{
    typedef struct plan<DIM> plan;
    const int warp = (int)threadIdx.x / 32, pos = span * SPAN_POSITIONS + warp * ATTENTION_TILE;
    uint16_t *tile = tiles + warp * plan::tile;
    struct running<DIM> r;
    clear<DIM>(r);
    if (pos < s.end && pos + ATTENTION_TILE > s.low) {
        uint32_t a[ATTENTION_TILE / 16][4];
        struct pair_of max, sum;
        bring_tile<DIM>(args, s, pos, 0, tile);
        weigh_tile<DIM>(args, s, 0, pos, queries, tile, dim, a, &max, &sum);
        bring_tile<DIM>(args, s, pos, 1, tile);
        add_values<DIM>(r, a, max, sum, tile, DIM + PAD, DIM);
        warp_sync();
    }
    store_running<DIM>(r, (float *)tile);
    block_sync();
    for (int w = 1; w < WARPS; w++)
        join_sums((float *)tiles, (const float *)(tiles + w * plan::tile), DIM, (int)threadIdx.x,
                  THREADS);
}

/* The parts of the list, shared out over the blocks: one span each, or all where a row has no room
 * for partial sums. */
template <int DIM>
KERNEL(THREADS, plan<DIM>::blocks)
decode_kernel(const struct attention_args args)
{
    DYNAMIC_SHARED(shared);
    begin_kernel();
    uint16_t *tiles = (uint16_t *)shared;
    uint16_t *queries = tiles + WARPS * plan<DIM>::tile;
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
