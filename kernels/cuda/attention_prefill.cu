/*
 * attention_prefill.cu - attention of a prompt's rows over pages
 *
 * A block of 4 warps takes 64 queries (rows x heads of the group), 16 per warp (of wide heads 32),
 * and walks the positions they see in tiles of 64 that all four warps share; tiles behind the last
 * row are skipped. 4 d positions^2 / 2 multiply-adds per head.
 *
 * Shared memory is the bound: of K, and of V, 256 bytes come from it for each mma of 2,048
 * multiply-adds, 2 cycles where an SM of an H200 can do one mma in a cycle (mma.sync: in 1.6), and
 * an eighth more for the queries: at most 45 % of the tensor cores' peak, expected 30 to 40 %.
 * Pages of other types than f16 are widened once per 64 queries, by the block.
 */
#include "kernels/cuda/attention_heads.cuh"

/* What a warp of a block does. */
struct duty {
    int first_query, first_column;
    float *total; /* the row's sums so far, in shared memory: [16][columns], maxima, sums */
};

template <int DIM> DEVICE struct duty duty_of(int warp, float *totals)
{
    typedef struct plan<DIM> plan;
    struct duty d;
    d.first_query = warp / plan::share * 16;
    d.first_column = warp % plan::share * plan::columns;
    d.total = totals + warp * sums_floats(plan::columns);
    return d;
}

/* A span's sums join the row's. */
template <int DIM> DEVICE void end_span(const struct running<DIM> &r, float *total)
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
}

template <int DIM>
DEVICE void bring(const struct attention_args &args, const struct scope &s, int pos, int plane,
                  uint16_t *tile)
{
    load_tile(args, s, pos, plane, tile, plan<DIM>::stride, (int)threadIdx.x, THREADS);
    copy_commit();
}

/* What bring() brought is there for all, and all have left what they read before. */
template <int DIM> DEVICE void meet(const struct attention_args &args, uint16_t *tile)
{
    copy_wait<0>();
    widen_tile(args.pages, tile, plan<DIM>::stride, (int)threadIdx.x, THREADS);
    block_sync();
}

/* The tiles that a part's rows see, one behind the other: V comes while scores are computed, the
 * next K while V is summed. */
template <int DIM>
DEVICE void walk(const struct attention_args &args, const struct scope &s, const struct duty &duty,
                 uint16_t *keys, uint16_t *values, const uint16_t *queries, int dim)
{
    typedef struct plan<DIM> plan;
    int pos = s.low / ATTENTION_TILE * ATTENTION_TILE;
    clear_sums(duty.total, plan::columns, lane_of(), 32);
    bring<DIM>(args, s, pos, 0, keys);
    while (pos < s.end) {
        struct running<plan::columns> r;
        clear(r);
        do { /* of a span */
            uint32_t a[ATTENTION_TILE / 16][4];
            struct pair_of max, sum;
            meet<DIM>(args, keys);
            bring<DIM>(args, s, pos, 1, values);
            weigh_tile<DIM>(args, s, duty.first_query, pos,
                            queries + duty.first_query * plan::stride, keys, dim, a, &max, &sum);
            pos += ATTENTION_TILE;
            meet<DIM>(args, values);
            if (pos < s.end)
                bring<DIM>(args, s, pos, 0, keys);
            add_values(r, a, max, sum, values + duty.first_column, plan::stride, plan::columns);
        } while (pos < s.end && pos % SPAN_POSITIONS != 0);
        end_span(r, duty.total);
    }
}

template <int DIM>
KERNEL(THREADS, plan<DIM>::blocks)
prefill_kernel(const struct attention_args args)
{
    DYNAMIC_SHARED(shared);
    __shared__ struct scope s; /* registers are what sums need */
    begin_kernel();
    typedef struct plan<DIM> plan;
    uint16_t *keys = (uint16_t *)shared, *values = keys + plan::tile;
    uint16_t *queries = values + plan::tile;
    const int thread = (int)threadIdx.x, head_dim = args.pages.head_dim;
    const int dim = (head_dim + 15) / 16 * 16;
    const struct duty duty =
        duty_of<DIM>(thread / 32, (float *)(queries + plan::queries * plan::stride));
    clear_tail(keys, 2 * ATTENTION_TILE, head_dim, DIM, plan::stride, thread, THREADS);
    for (int i = (int)blockIdx.x; i < args.work->num_prefill; i += (int)gridDim.x) {
        block_sync();
        if (thread == 0)
            s = scope_of(args, parts_at(args, args.work->prefill)[i], (int)blockIdx.y);
        block_sync();
        load_queries(args, s, 0, plan::queries, dim, queries, plan::stride, thread, THREADS);
        walk<DIM>(args, s, duty, keys, values, queries, dim);
        write_out(args, s, duty.first_query, duty.total, plan::columns, duty.first_column, head_dim,
                  lane_of(), 32);
    }
}

template <int DIM>
static void launch_prefill(const struct launch *launch, const struct attention_args *a)
{
    launch_kernel(prefill_kernel<DIM>, grid_of(a), THREADS, plan<DIM>::prefill_bytes, launch, *a);
}

extern "C" void attention_prefill(const struct launch *launch, const void *args)
{
    const struct attention_args *a = (const struct attention_args *)args;
    if (a->pages.head_dim <= 64)
        launch_prefill<64>(launch, a);
    else if (a->pages.head_dim <= 128)
        launch_prefill<128>(launch, a);
    else
        launch_prefill<256>(launch, a);
}
