/*
 * attention_prefill.cu - attention of a prompt's rows over pages
 *
 * A block of 4 warps takes 64 queries (rows x heads of the group), 16 per warp, and walks the
 * positions they see in tiles of 64 that all four warps share, two stages deep; tiles behind the
 * last row are skipped. 4 d positions^2 / 2 multiply-adds per head; K goes from shared memory once
 * per 16 queries: expected 50 to 60 % of mma.sync's peak. Pages of other types than f16 are widened
 * once per 64 queries, by the block.
 */
#include "kernels/cuda/attention_heads.cuh"

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
#pragma unroll 1
        for (int plane = 0; plane < 2; plane++)
            load_tile(args, s, pos, plane, stage + plane * plan::tile, plan::stride,
                      (int)threadIdx.x, plan::threads);
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
        uint16_t *keys = stages + k * 2 * plan::tile;
#pragma unroll 1
        for (int plane = 0; plane < 2; plane++)
            widen_tile(args.pages, keys + plane * plan::tile, plan::stride, (int)threadIdx.x,
                       plan::threads);
        block_sync();
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
    __shared__ struct scope s; /* registers are what sums need */
    typedef struct plan<DIM> plan;
    uint16_t *stages = (uint16_t *)shared, *queries = stages + plan::stages * 2 * plan::tile;
    const int thread = (int)threadIdx.x, warp = thread / 32, y = (int)blockIdx.y;
    float *total = (float *)(queries + 16 * plan::warps * plan::stride) + warp * sums_floats(DIM);
    const int dim = (args.pages.head_dim + 15) / 16 * 16;
    clear_tail(stages, plan::stages * 2 * ATTENTION_TILE, args.pages.head_dim, DIM, plan::stride,
               thread, plan::threads);
    for (int i = (int)blockIdx.x; i < args.work->num_prefill; i += (int)gridDim.x) {
        block_sync();
        if (thread == 0)
            s = scope_of(args, parts_at(args, args.work->prefill)[i], y);
        block_sync();
        load_queries(args, s, 0, 16 * plan::warps, dim, queries, plan::stride, thread,
                     plan::threads);
        walk<DIM>(args, s, stages, queries, total, dim);
        write_out(args, s, 16 * warp, total, DIM, args.pages.head_dim, lane_of(), 32);
    }
}

extern "C" void attention_prefill(const struct launch *launch, const void *args)
{
    const struct attention_args *a = (const struct attention_args *)args;
    const dim3 grid = grid_of(a);
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
