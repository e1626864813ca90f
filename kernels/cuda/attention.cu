/*
 * attention.cu - attention of heads over pages: rows of a prompt, and single rows
 *
 * decode  : a block of 4 warps takes (row, kv head, one span of 256 positions). Each warp brings one
 *           tile of 64 positions, K and V, with cp.async, scores all query heads of the group as
 *           one mma tile, and leaves the tile's sums in shared memory; the block combines the four
 *           in order. Several spans of a row meet in the last block that finishes. KV is read once:
 *           4 d bytes per position and kv head; partial sums add 1.6 % at d = 128. Loads of one
 *           part do not overlap with arithmetic of another but for the blocks beside it on the SM:
 *           expected 65 to 80 % of the bandwidth.
 * prefill : a block of 4 warps takes 64 queries (rows x heads of the group), 16 per warp, and walks
 *           the positions they see in tiles of 64 that all four warps share, two stages deep; tiles
 *           behind the last row are skipped. 4 d positions^2 / 2 multiply-adds per head; K goes
 *           from shared memory once per 16 queries: expected 50 to 60 % of mma.sync's peak.
 *
 * Shared memory, DIM = 128: decode 4 x 34 KB + 4 KB of queries; prefill 2 x 34 KB + 17 KB of
 * queries + 33 KB of sums. DIM is 64, 128 or 256; a smaller head is padded with zeros.
 */
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
        warp_sync();
        score_tile<DIM>(args, s, 0, pos, queries, keys, dim, c, &max, &sum);
        warp_sync();
        if (plan::is_wide)
            bring_tile<DIM>(args, s, pos, 1, values);
        copy_wait<0>();
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

/* A span's sums of one warp join the row's, in shared memory of that warp's own. */
template <int DIM> DEVICE void end_span(struct running<DIM> &r, float *total)
{
    const int lane = lane_of(), g = lane / 4, t = lane & 3;
    const struct joint low = join(total[16 * DIM + g], r.max.low);
    const struct joint high = join(total[16 * DIM + g + 8], r.max.high);
    const float sum_low = joined(low, total[16 * DIM + 16 + g], r.sum.low);
    const float sum_high = joined(high, total[16 * DIM + 24 + g], r.sum.high);
#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float *at = total + (g + i / 2 * 8) * DIM + 8 * n + 2 * t + (i & 1);
            *at = joined(i < 2 ? low : high, *at, r.acc[n][i]);
        }
    warp_sync();
    if (t == 0) {
        total[16 * DIM + g] = low.max;
        total[16 * DIM + g + 8] = high.max;
        total[16 * DIM + 16 + g] = sum_low;
        total[16 * DIM + 24 + g] = sum_high;
    }
    warp_sync();
    clear<DIM>(r);
}

template <int DIM>
DEVICE void load_stage(const struct attention_args &args, const struct scope &s, int pos,
                       uint16_t *stage)
{
    typedef struct plan<DIM> plan;
    if (pos < s.end) {
        load_tile(args, s, pos, 0, stage, plan::stride, (int)threadIdx.x, plan::threads);
        load_tile(args, s, pos, 1, stage + plan::tile, plan::stride, (int)threadIdx.x,
                  plan::threads);
    }
    copy_commit();
}

/* The tiles that a part's rows see, one behind the other. */
template <int DIM>
DEVICE void walk(const struct attention_args &args, const struct scope &s, uint16_t *stages,
                 const uint16_t *queries, float *total, int dim)
{
    typedef struct plan<DIM> plan;
    const int warp = (int)threadIdx.x / 32, begin = s.low / ATTENTION_TILE * ATTENTION_TILE;
    struct running<DIM> r;
    clear<DIM>(r);
    store_running<DIM>(r, total);
    if (plan::stages > 1)
        load_stage<DIM>(args, s, begin, stages);
    for (int pos = begin, k = 0; pos < s.end; pos += ATTENTION_TILE, k ^= plan::stages - 1) {
        const int next = plan::stages > 1 ? pos + ATTENTION_TILE : pos;
        load_stage<DIM>(args, s, next, stages + (plan::stages > 1 ? k ^ 1 : 0) * 2 * plan::tile);
        copy_wait<plan::stages - 1>();
        block_sync();
        const uint16_t *keys = stages + k * 2 * plan::tile;
        float c[SCORE_TILES][4];
        struct pair_of max, sum;
        score_tile<DIM>(args, s, 16 * warp, pos, queries + 16 * warp * plan::stride, keys, dim, c,
                        &max, &sum);
        add_tile<DIM>(r, c, max, sum, keys + plan::tile, plan::stride);
        if ((pos + ATTENTION_TILE) % SPAN_POSITIONS == 0 || pos + ATTENTION_TILE >= s.end)
            end_span<DIM>(r, total);
        block_sync();
    }
    copy_wait<0>();
}

template <int DIM>
KERNEL(plan<DIM>::threads, 1) prefill_kernel(const struct attention_args args)
{
    DYNAMIC_SHARED(shared);
    typedef struct plan<DIM> plan;
    uint16_t *stages = (uint16_t *)shared, *queries = stages + plan::stages * 2 * plan::tile;
    const int thread = (int)threadIdx.x, warp = thread / 32, y = (int)blockIdx.y;
    float *total = (float *)(queries + 16 * plan::warps * plan::stride) + warp * sums_floats(DIM);
    const int num = args.work->num_prefill, dim = (args.pages.head_dim + 15) / 16 * 16;
    const struct attention_part *parts = parts_at(args, args.work->prefill);

    clear_tail(stages, plan::stages * 2 * ATTENTION_TILE, args.pages.head_dim, DIM, plan::stride,
               thread, plan::threads);
    for (int i = (int)blockIdx.x; i < num; i += (int)gridDim.x) {
        const struct scope s = scope_of(args, parts[i], y);
        block_sync();
        load_queries(args, s, 0, 16 * plan::warps, dim, queries, plan::stride, thread,
                     plan::threads);
        walk<DIM>(args, s, stages, queries, total, dim);
        write_out(args, s, 16 * warp, total, DIM, args.pages.head_dim, lane_of(), 32);
    }
}

static int tiles_of_heads(const struct attention_args *a)
{
    const int group = a->num_heads / a->pages.num_kv_heads;
    return a->pages.num_kv_heads * ceil_div(group, a->heads_per_tile);
}

extern "C" void attention_decode(const struct launch *launch, const void *args)
{
    const struct attention_args *a = (const struct attention_args *)args;
    const dim3 grid(a->grid, tiles_of_heads(a));
    if (a->pages.head_dim <= 64)
        launch_kernel(decode_kernel<64>, grid, THREADS, plan<64>::decode_bytes, launch, *a);
    else if (a->pages.head_dim <= 128)
        launch_kernel(decode_kernel<128>, grid, THREADS, plan<128>::decode_bytes, launch, *a);
    else
        launch_kernel(decode_kernel<256>, grid, THREADS, plan<256>::decode_bytes, launch, *a);
}

extern "C" void attention_prefill(const struct launch *launch, const void *args)
{
    const struct attention_args *a = (const struct attention_args *)args;
    const dim3 grid(a->grid, tiles_of_heads(a));
    if (a->pages.head_dim <= 64)
        launch_kernel(prefill_kernel<64>, grid, plan<64>::threads, plan<64>::prefill_bytes, launch,
                      *a);
    else if (a->pages.head_dim <= 128)
        launch_kernel(prefill_kernel<128>, grid, plan<128>::threads, plan<128>::prefill_bytes, launch,
                      *a);
    else
        launch_kernel(prefill_kernel<256>, grid, plan<256>::threads, plan<256>::prefill_bytes, launch,
                      *a);
}
