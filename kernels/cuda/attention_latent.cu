/*
 * attention_latent.cu - attention over latents (MLA): one key for all heads, its first part the
 * value
 *
 * A group of 4 warps takes 16 queries. A tile of 64 positions lies in shared memory once, as key
 * and as value. Each warp scores 16 of its positions over the whole width; the weights meet in
 * shared memory as f16; then each warp sums its quarter of the values' columns.
 *
 * decode  : a block is one group, its queries heads of one row (or of few, where there are few
 *           heads), and one span of 256 positions; in a row that has no room for partial sums, all
 *           of them in turn.
 * prefill : two groups share each tile, 32 queries of neighbouring rows, and walk all spans in
 * turn. The arithmetic is the same, so are the bits.
 *
 * Bytes: 2 x 576 per position in f16, for each 16 or 32 queries, through L2. 128 heads of a row are
 * 8 tiles: bound by mma and shared memory rather than by bandwidth; expected 35 % of mma.sync's
 * peak for one group, 50 % for two, since twice as many products wait for a tile. A row's sums stay
 * in registers, 64 a thread beside the 64 of the span, and come to where the tile was in the end.
 * Shared memory: 75 KB tile; of each group 19 KB queries, 6 KB scores and weights. One group, 98
 * KB, fits everywhere (99 KB on 8.6, 8.9 and 12.0), and twice on an SM of an H200; two groups, 122
 * KB, from 8.0 and 9.0 on.
 */
#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, GROUP_THREADS = 32 * WARPS, MAX_KEY = 576, MAX_VALUE = 512 };
enum { STRIDE = MAX_KEY + PAD, WEIGHT_STRIDE = ATTENTION_TILE + PAD, QUARTER = MAX_VALUE / WARPS };
enum {
    TILE_BYTES = ATTENTION_TILE * STRIDE * 2,
    GROUP_BYTES = 16 * ATTENTION_TILE * 4 + 128 + 16 * STRIDE * 2 + 16 * WEIGHT_STRIDE * 2,
    SUMS_BYTES = 16 * (MAX_VALUE + 2) * 4,
};
static_assert(2 * SUMS_BYTES <= TILE_BYTES, "sums come to where the tile was");
static_assert(TILE_BYTES + GROUP_BYTES <= LEAST_SHARED_BYTES - 256, "");
static_assert(TILE_BYTES + 2 * GROUP_BYTES <= WIDE_SHARED_BYTES - 256, "");

/* What a group has. */
struct space {
    uint16_t *tile, *queries, *weights; /* [64][STRIDE], [16][STRIDE], [16][WEIGHT_STRIDE] */
    float *scores;                      /* [16][64] */
    float *sums;                        /* [16][MAX_VALUE], maxima, sums; in the tile's place */
    float *most, *total;                /* [16] of the tile */
    int group, thread, warp;            /* of this thread; the latter two within its group */
};

DEVICE struct space space_of(unsigned char *shared)
{
    struct space p;
    p.group = (int)threadIdx.x / GROUP_THREADS;
    p.thread = (int)threadIdx.x % GROUP_THREADS;
    p.warp = p.thread / 32;
    p.tile = (uint16_t *)shared;
    p.sums = (float *)(shared + p.group * SUMS_BYTES);
    p.scores = (float *)(shared + TILE_BYTES + p.group * GROUP_BYTES);
    p.most = p.scores + 16 * ATTENTION_TILE;
    p.total = p.most + 16;
    p.queries = (uint16_t *)(p.total + 16);
    p.weights = p.queries + 16 * STRIDE;
    return p;
}

/* Scores of the tile at `pos`, 16 positions per warp, then weights and their sums. */
DEVICE void weigh_tile(const struct attention_args &args, const struct scope &s,
                       const struct space &p, int pos, int dim)
{
    const int lane = lane_of();
    float c[2][4];
    score<2>(c, p.queries, p.tile + 16 * p.warp * STRIDE, dim, STRIDE);
    for (int i = 0; i < 8; i++)
        p.scores[(lane / 4 + i % 4 / 2 * 8) * ATTENTION_TILE + 16 * p.warp + i / 4 * 8 +
                 2 * (lane & 3) + (i & 1)] = c[i / 4][i % 4];
    block_sync();
    for (int q = p.warp; q < 16; q += WARPS) {
        int low, high;
        sight(args, s, 16 * p.group + q, &low, &high);
        float x[2];
        for (int i = 0; i < 2; i++) {
            const int at = pos + lane + 32 * i;
            const float score = p.scores[q * ATTENTION_TILE + lane + 32 * i];
            x[i] = args.softcap > 0.0f ? capped(args, score) : score;
            x[i] = at >= low && at <= high ? x[i] : -INFINITY;
        }
        const float max = warp_max(fmaxf(x[0], x[1]));
        const float a = exp_of(x[0] - base_of(max)), b = exp_of(x[1] - base_of(max));
        const float sum = warp_sum(a + b);
        p.weights[q * WEIGHT_STRIDE + lane] = (uint16_t)pack_f16_within(a, 0.0f);
        p.weights[q * WEIGHT_STRIDE + lane + 32] = (uint16_t)pack_f16_within(b, 0.0f);
        if (lane == 0) {
            p.most[q] = max;
            p.total[q] = sum;
        }
    }
    block_sync();
}

/* A warp's quarter of the columns: the tile's weighted values join its running sums. */
DEVICE void add_quarter(const struct space &p, struct running<QUARTER> &r, int num_columns)
{
    const int lane = lane_of(), g = lane / 4;
    const shared_place w = place_of(p.weights + (lane & 15) * WEIGHT_STRIDE + lane / 16 * 8);
    uint32_t a[ATTENTION_TILE / 16][4];
#pragma unroll
    for (int k = 0; k < ATTENTION_TILE / 16; k++)
        load_rows(a[k], w + 32 * k);
    add_values<QUARTER>(r, a, pair_of{ p.most[g], p.most[g + 8] },
                        pair_of{ p.total[g], p.total[g + 8] }, p.tile + p.warp * QUARTER, STRIDE,
                        num_columns - p.warp * QUARTER);
}

/* A span's sums join the row's, or are the first. */
DEVICE void join_span(struct running<QUARTER> &total, const struct running<QUARTER> &r)
{
    const struct joint low = join(total.max.low, r.max.low);
    const struct joint high = join(total.max.high, r.max.high);
#pragma unroll
    for (int n = 0; n < QUARTER / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            total.acc[n][i] = joined(i < 2 ? low : high, total.acc[n][i], r.acc[n][i]);
    total.sum =
        pair_of{ joined(low, total.sum.low, r.sum.low), joined(high, total.sum.high, r.sum.high) };
    total.max = pair_of{ low.max, high.max };
}

/* The row's sums to shared memory, when nobody reads the tile any more. Ends in step. */
DEVICE void store_total(const struct space &p, const struct running<QUARTER> &total)
{
    const int lane = lane_of(), g = lane / 4, t = lane & 3;
    float *max = p.sums + 16 * MAX_VALUE, *sum = max + 16;
    block_sync();
#pragma unroll
    for (int n = 0; n < QUARTER / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p.sums[(g + i / 2 * 8) * MAX_VALUE + p.warp * QUARTER + 8 * n + 2 * t + (i & 1)] =
                total.acc[n][i];
    if (p.warp == 0 && t == 0) {
        max[g] = total.max.low;
        max[g + 8] = total.max.high;
        sum[g] = total.sum.low;
        sum[g + 8] = total.sum.high;
    }
    block_sync();
}

/* A span, that joins the row's. All groups take each tile in step. */
DEVICE void walk_span(const struct attention_args &args, const struct scope &s,
                      const struct space &p, int span, int dim, int threads,
                      struct running<QUARTER> &total)
{
    struct running<QUARTER> r;
    clear<QUARTER>(r);
    for (int tile = 0; tile < ATTENTION_SPAN_TILES; tile++) {
        const int pos = span * SPAN_POSITIONS + tile * ATTENTION_TILE;
        if (pos >= s.end || pos + ATTENTION_TILE <= s.low)
            continue;
        block_sync();
        load_tile(args, s, pos, 0, p.tile, STRIDE, (int)threadIdx.x, threads);
        copy_commit();
        copy_wait<0>();
        widen_tile(args.pages, p.tile, STRIDE, (int)threadIdx.x, threads);
        block_sync();
        weigh_tile(args, s, p, pos, dim);
        add_quarter(p, r, args.pages.latent_dim);
    }
    join_span(total, r);
}

template <int GROUPS>
KERNEL(GROUPS *GROUP_THREADS, 1)
latent_kernel(const struct attention_args args)
{
    DYNAMIC_SHARED(shared);
    __shared__ struct scope s; /* registers are what sums need */
    begin_kernel();
    constexpr int THREADS = GROUPS * GROUP_THREADS;
    const struct space p = space_of(shared);
    const int num = GROUPS == 1 ? args.work->num_decode : args.work->num_prefill;
    const int y = (int)blockIdx.y, dim = (args.pages.head_dim + 15) / 16 * 16;
    const struct attention_part *parts =
        parts_at(args, GROUPS == 1 ? args.work->decode : args.work->prefill);

    for (int i = (int)blockIdx.x; i < num; i += (int)gridDim.x) {
        block_sync();
        if (threadIdx.x == 0)
            s = scope_of(args, parts[i], y);
        block_sync();
        load_queries(args, s, 16 * p.group, 16, dim, p.queries, STRIDE, p.thread, GROUP_THREADS);
        clear_tail(p.tile, ATTENTION_TILE, args.pages.head_dim, dim, STRIDE, (int)threadIdx.x,
                   THREADS);
        struct running<QUARTER> total;
        clear<QUARTER>(total);
        for (int span = s.part.span_from; span < s.part.span_to; span++)
            walk_span(args, s, p, span, dim, THREADS, total);
        store_total(p, total);
        if (GROUPS == 1)
            finish_part(args, s, p.sums, MAX_VALUE, args.pages.latent_dim, y, THREADS);
        else
            write_out(args, s, 16 * p.group, p.sums, MAX_VALUE, 0, args.pages.latent_dim, p.thread,
                      GROUP_THREADS);
    }
}

template <int GROUPS> static void launch_latent(const struct launch *launch, const void *args)
{
    const struct attention_args *a = (const struct attention_args *)args;
    const dim3 grid(a->grid, ceil_div(a->num_heads, a->heads_per_tile));
    launch_kernel(latent_kernel<GROUPS>, grid, GROUPS * GROUP_THREADS,
                  TILE_BYTES + GROUPS * GROUP_BYTES, launch, *a);
}

extern "C" void attention_latent(const struct launch *launch, const void *args)
{
    launch_latent<1>(launch, args);
}

extern "C" void attention_latent_prefill(const struct launch *launch, const void *args)
{
    launch_latent<2>(launch, args);
}
