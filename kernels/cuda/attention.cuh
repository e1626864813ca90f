/*
 * attention.cuh - softmax-weighted sums over paged keys and values, in an order that is fixed
 *
 *     tile  : 64 positions, reduced from scratch: own maximum, own sum, own weighted values
 *     span  : 4 tiles, combined in order
 *     row   : spans, combined in order
 *
 * Borders are absolute positions. Whoever computes a tile or a span, one warp after the other or
 * several beside each other, does the same arithmetic, so a row's bits depend neither on the batch
 * nor on how its prompt was cut. What lies behind a row, or before its window, weighs exactly zero,
 * and positions that nobody has written are zeros in shared memory: 0 times garbage never occurs.
 *
 * Queries (rows x heads of a group) stand on the 16-side of mma.m16n8k16. Scores of a warp's 16
 * queries by 64 positions stay in registers and become, as f16, the A of the product with V.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/attention_pages.cuh"
#include "kernels/cuda/mma.cuh"

enum { SPAN_POSITIONS = ATTENTION_TILE * ATTENTION_SPAN_TILES, SCORE_TILES = ATTENTION_TILE / 8 };

/* Queries [0, num) of the part from `first` on times the scale, as f16; beyond s.queries zeros. A
 * warp takes one in turn. */
DEVICE void load_queries(const struct attention_args &args, const struct scope &s, int first,
                         int num, int dim, uint16_t *to, int stride, int thread, int threads)
{
    const int head_dim = args.pages.head_dim, lane = thread & 31;
    for (int i = thread / 32; i < num; i += threads / 32) {
        const int q = first + i, row = s.part.first_row + s.part.row + q / s.num_heads;
        const float *from =
            args.qkv + row * args.q_stride + (int64_t)(s.first_head + q % s.num_heads) * head_dim;
        for (int d = 2 * lane; d < dim; d += 64) {
            const bool there = q < s.queries && d < head_dim;
            const float low = there ? from[d] * args.scale : 0.0f;
            const float high = there ? from[d + 1] * args.scale : 0.0f;
            *(uint32_t *)(to + i * stride + d) = pack_f16(low, high);
        }
    }
}

/* Scores of 16 queries by 8 TILES positions, over `dim` of both: 16 columns in turn, in which the
 * queries are loaded once. */
template <int TILES>
DEVICE void score(float c[TILES][4], const uint16_t *queries, const uint16_t *keys, int dim,
                  int stride)
{
    const int lane = lane_of(), corner = lane / 8; /* of 16 x 16: who names which rows */
    const shared_place q = place_of(queries + (lane & 15) * stride + corner / 2 * 8);
    const shared_place key =
        place_of(keys + ((lane & 7) + corner / 2 * 8) * stride + corner % 2 * 8);
#pragma unroll
    for (int n = 0; n < TILES; n++)
        c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0.0f;
#pragma unroll 2
    for (int k = 0; k < dim; k += 16) {
        uint32_t a[4];
        load_rows(a, q + 2 * k);
#pragma unroll
        for (int n = 0; n < TILES; n += 2) {
            uint32_t b[4];
            load_rows(b, key + 2 * (8 * n * stride + k));
            mma_f16(c[n], a, b[0], b[1]);
            mma_f16(c[n + 1], a, b[2], b[3]);
        }
    }
}

/* What query q of the part sees: [low, high]. */
DEVICE void sight(const struct attention_args &args, const struct scope &s, int q, int *low,
                  int *high)
{
    const int pos = s.part.first_pos + s.part.row + q / s.num_heads;
    *high = q < s.queries ? pos : -1;
    *low = args.window > 0 ? pos - args.window + 1 : 0;
}

DEVICE float capped(const struct attention_args &args, float score)
{
    return args.softcap * tanh_of(score * (1.0f / args.softcap));
}

/* Of a lane's rows g and g + 8. */
struct pair_of {
    float low, high;
};

/* Over the four lanes that hold a row. */
DEVICE float quad_max(float x)
{
    x = fmaxf(x, lane_xor(x, 1));
    return fmaxf(x, lane_xor(x, 2));
}

DEVICE float quad_sum(float x)
{
    x += lane_xor(x, 1);
    return x + lane_xor(x, 2);
}

/* What is subtracted before exp(): exp(-inf) is 0, also where nothing was seen. */
DEVICE float base_of(float max)
{
    return max == -INFINITY ? 0.0f : max;
}

/* Scores [16][64] of a tile at `pos`: what a query does not see is -inf. */
DEVICE void mask_tile(const struct attention_args &args, const struct scope &s, int first_query,
                      int pos, float c[SCORE_TILES][4])
{
    const int lane = lane_of(), g = lane / 4, t = lane & 3;
    int low[2], high[2];
    sight(args, s, first_query + g, &low[0], &high[0]);
    sight(args, s, first_query + g + 8, &low[1], &high[1]);
#pragma unroll
    for (int n = 0; n < SCORE_TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int at = pos + 8 * n + 2 * t + (i & 1);
            if (at < low[i / 2] || at > high[i / 2])
                c[n][i] = -INFINITY;
        }
}

/* They become weights; returns their maxima and sums. */
DEVICE void soften_tile(const struct attention_args &args, const struct scope &s, int first_query,
                        int pos, float c[SCORE_TILES][4], struct pair_of *max, struct pair_of *sum)
{
    float most[2] = { -INFINITY, -INFINITY }, total[2] = { 0.0f, 0.0f };
    if (args.softcap > 0.0f)
#pragma unroll
        for (int n = 0; n < SCORE_TILES; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                c[n][i] = capped(args, c[n][i]);
    mask_tile(args, s, first_query, pos, c);
#pragma unroll
    for (int n = 0; n < SCORE_TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            most[i / 2] = fmaxf(most[i / 2], c[n][i]);
    most[0] = quad_max(most[0]);
    most[1] = quad_max(most[1]);
    const float base[2] = { base_of(most[0]), base_of(most[1]) };
#pragma unroll
    for (int n = 0; n < SCORE_TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            c[n][i] = exp_of(c[n][i] - base[i / 2]);
            total[i / 2] += c[n][i];
        }
    *max = pair_of{ most[0], most[1] };
    *sum = pair_of{ quad_sum(total[0]), quad_sum(total[1]) };
}

/* How a sum so far and the next one join: factors of both. */
struct joint {
    float max, old_factor, new_factor;
};

DEVICE struct joint join(float old_max, float new_max)
{
    struct joint j;
    j.max = fmaxf(old_max, new_max);
    j.old_factor = exp_of(old_max - base_of(j.max));
    j.new_factor = exp_of(new_max - base_of(j.max));
    return j;
}

/* The one way in which two sums become one: the compiler may not choose another. */
DEVICE float joined(const struct joint &j, float old_value, float new_value)
{
    return fmaf(old_value, j.old_factor, new_value * j.new_factor);
}

/* Weights of 16 positions, k-th of the tile, as A. */
DEVICE void weights_of(const float c[SCORE_TILES][4], int k, uint32_t a[4])
{
    a[0] = pack_f16_within(c[2 * k][0], c[2 * k][1]);
    a[1] = pack_f16_within(c[2 * k][2], c[2 * k][3]);
    a[2] = pack_f16_within(c[2 * k + 1][0], c[2 * k + 1][1]);
    a[3] = pack_f16_within(c[2 * k + 1][2], c[2 * k + 1][3]);
}

/* A warp's running sums: 16 queries by DIM values. */
template <int DIM> struct running {
    float acc[DIM / 8][4];
    struct pair_of max, sum;
};

template <int DIM> DEVICE void clear(struct running<DIM> &r)
{
#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
        r.acc[n][0] = r.acc[n][1] = r.acc[n][2] = r.acc[n][3] = 0.0f;
    r.max = pair_of{ -INFINITY, -INFINITY };
    r.sum = pair_of{ 0.0f, 0.0f };
}

/* A tile's weights `a` times V [64][stride] join the running sums; of its columns `num`. */
template <int DIM>
DEVICE void add_values(struct running<DIM> &r, const uint32_t a[ATTENTION_TILE / 16][4],
                       struct pair_of max, struct pair_of sum, const uint16_t *values, int stride,
                       int num)
{
    const struct joint low = join(r.max.low, max.low), high = join(r.max.high, max.high);
    const shared_place row = place_of(values + (lane_of() & 15) * stride + lane_of() / 16 * 8);
#pragma unroll
    for (int n = 0; n < DIM / 8; n += 2) {
        float part[2][4] = { { 0.0f, 0.0f, 0.0f, 0.0f }, { 0.0f, 0.0f, 0.0f, 0.0f } };
        if (8 * n < num) {
#pragma unroll
            for (int k = 0; k < ATTENTION_TILE / 16; k++) {
                uint32_t b[4];
                load_turned(b, row + 2 * (16 * k * stride + 8 * n));
                mma_f16(part[0], a[k], b[0], b[1]);
                mma_f16(part[1], a[k], b[2], b[3]);
            }
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
            r.acc[n + i / 4][i % 4] =
                joined(i % 4 < 2 ? low : high, r.acc[n + i / 4][i % 4], part[i / 4][i % 4]);
    }
    r.sum = pair_of{ joined(low, r.sum.low, sum.low), joined(high, r.sum.high, sum.high) };
    r.max = pair_of{ low.max, high.max };
}

/* Sums of 16 queries in memory: [16][dim], then maxima [16], sums [16]. */
DEVICE int64_t sums_floats(int dim)
{
    return 16 * (int64_t)(dim + 2);
}

template <int DIM> DEVICE void store_running(const struct running<DIM> &r, float *to)
{
    const int lane = lane_of(), g = lane / 4, t = lane & 3;
#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            to[(g + i / 2 * 8) * DIM + 8 * n + 2 * t + (i & 1)] = r.acc[n][i];
    if (t == 0) {
        to[16 * DIM + g] = r.max.low;
        to[16 * DIM + g + 8] = r.max.high;
        to[16 * DIM + 16 + g] = r.sum.low;
        to[16 * DIM + 24 + g] = r.sum.high;
    }
}

/* Sums of nothing: joining anything with them leaves it as it is, to the bit. */
DEVICE void clear_sums(float *sums, int dim, int thread, int threads)
{
    for (int i = thread; i < 16 * (dim + 2); i += threads)
        sums[i] = i >= 16 * dim && i < 16 * dim + 16 ? -INFINITY : 0.0f;
}

/* The sums in `to` and those in `from`, which are the next, become those in `to`; both for the 16
 * queries of a tile, by all threads of a block. Ends and begins in step. */
DEVICE void join_sums(float *to, const float *from, int dim, int thread, int threads)
{
    for (int i = thread; i < 16 * dim; i += threads) {
        const struct joint j = join(to[16 * dim + i / dim], from[16 * dim + i / dim]);
        to[i] = joined(j, to[i], from[i]);
    }
    block_sync();
    for (int q = thread; q < 16; q += threads) {
        const struct joint j = join(to[16 * dim + q], from[16 * dim + q]);
        to[16 * dim + 16 + q] = joined(j, to[16 * dim + 16 + q], from[16 * dim + 16 + q]);
        to[16 * dim + q] = j.max;
    }
    block_sync();
}

/* Queries [first, first + 16) of the part from their sums [16][dim] to the output, of which they
 * are the columns from `column` on; those from `value_dim` on are nobody's. */
DEVICE void write_out(const struct attention_args &args, const struct scope &s, int first,
                      const float *sums, int dim, int column, int value_dim, int thread,
                      int threads)
{
    const int num = value_dim - column < dim ? value_dim - column : dim;
    for (int i = thread / 32; i < 16 && first + i < s.queries; i += threads / 32) {
        const int q = first + i, head = s.first_head + q % s.num_heads;
        const int64_t row = s.part.first_row + s.part.row + q / s.num_heads;
        const int64_t to = (row * args.num_heads + head) * value_dim + column;
        const float factor = 1.0f / sums[16 * dim + 16 + i];
        for (int d = thread & 31; d < num; d += 32)
            number_store(args.out, args.number, to + d, sums[i * dim + d] * factor);
    }
}

/* Where a part's sums go when others take part. */
DEVICE float *slot_at(const struct attention_args &args, int slot, int y, int dim)
{
    return args.partials + ((int64_t)slot * gridDim.y + y) * sums_floats(dim);
}

/*
 * The block's sums [16][dim] are in `sums`, shared. Alone it writes them out; else they go to its
 * slot, and whoever comes last combines all of them in order.
 */
DEVICE void finish_part(const struct attention_args &args, const struct scope &s, float *sums,
                        int dim, int value_dim, int y, int threads)
{
    __shared__ int is_last;
    const int thread = (int)threadIdx.x, num = (int)sums_floats(dim);
    block_sync();
    if (s.part.slot < 0) {
        write_out(args, s, 0, sums, dim, 0, value_dim, thread, threads);
        block_sync();
        return;
    }
    float *own = slot_at(args, s.part.slot, y, dim);
    for (int i = thread; i < num; i += threads)
        own[i] = sums[i];
    fence();
    block_sync();
    if (thread == 0) {
        int *counter = args.counters + (int64_t)s.part.first_slot * gridDim.y + y;
        is_last = atomic_add(counter, 1) == s.part.num_slots - 1;
        if (is_last)
            *counter = 0;
    }
    block_sync();
    if (is_last) {
        fence();
        const float *first = slot_at(args, s.part.first_slot, y, dim);
        for (int i = thread; i < num; i += threads)
            sums[i] = first[i];
        block_sync();
        for (int k = 1; k < s.part.num_slots; k++)
            join_sums(sums, slot_at(args, s.part.first_slot + k, y, dim), dim, thread, threads);
        write_out(args, s, 0, sums, dim, 0, value_dim, thread, threads);
    }
    block_sync();
}

DEVICE const struct attention_part *parts_at(const struct attention_args &args, int64_t offset)
{
    return (const struct attention_part *)(args.tables + offset);
}

#endif
