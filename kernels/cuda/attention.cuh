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
 *
 * K and V are f16 in shared memory whatever they are in pages: f16, bf16 and FP8 come there as they
 * are, by cp.async, and each thread widens in place what it brought itself, so that nothing waits
 * for it but the barrier that is there anyway. FP8 is exact, bf16 where it is not below 2^-14 (then
 * to 2^-25) or above 65,504. f32 and Q8_0 are converted on the way, without cp.async.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/e4m3.cuh"
#include "kernels/cuda/mma.cuh"

enum { SPAN_POSITIONS = ATTENTION_TILE * ATTENTION_SPAN_TILES, SCORE_TILES = ATTENTION_TILE / 8 };

enum { LEAST_SHARED_BYTES = 166912 }; /* that a block may have on every GPU we run on: sm_80 */

/* Rows of shared memory are 16 bytes longer than they need be: neighbours begin in other banks. */
enum { PAD = 8 };

/* What a part sees of one kv head and one tile of heads. */
struct scope {
    struct attention_part part;
    const int32_t *blocks;
    const unsigned char *keys; /* of the layer and head, in page 0 */
    int first_head, num_heads, queries;
    int low, end; /* positions that its rows see: [low, end) */
};

DEVICE struct scope scope_of(const struct attention_args &args, const struct attention_part &part,
                             int y)
{
    const struct pages &pages = args.pages;
    const int group = args.num_heads / pages.num_kv_heads;
    const int tiles = (group + args.heads_per_tile - 1) / args.heads_per_tile;
    const int kv_head = y / tiles, in_group = y % tiles * args.heads_per_tile;
    const int planes = pages.latent_dim > 0 ? 1 : 2;
    struct scope s;
    s.part = part;
    s.blocks = (const int32_t *)(args.tables + part.blocks);
    s.keys = pages.blocks +
             ((int64_t)args.layer * pages.num_kv_heads + kv_head) * planes * pages.plane_bytes;
    s.first_head = kv_head * group + in_group;
    s.num_heads = group - in_group < args.heads_per_tile ? group - in_group : args.heads_per_tile;
    s.queries = part.rows * s.num_heads;
    const int first = part.first_pos + part.row;
    s.low = args.window > 0 && first - args.window + 1 > 0 ? first - args.window + 1 : 0;
    s.end = first + part.rows;
    return s;
}

/* Values of a position that 16 bytes are, or 0: they do not come by cp.async. */
DEVICE int chunk_of(const struct pages &pages)
{
    const bool is_wide = pages.number == KV_F16 || pages.number == KV_BF16;
    return is_wide ? 8 : pages.number == KV_E4M3 && pages.head_dim % 16 == 0 ? 16 : 0;
}

/* One head's plane (0: K, 1: V) in the page of a position that is seen. */
DEVICE const unsigned char *plane_of(const struct attention_args &args, const struct scope &s,
                                     int at, int plane)
{
    const struct pages &pages = args.pages;
    return s.keys + s.blocks[at / pages.block_size] * pages.block_bytes +
           plane * pages.plane_bytes;
}

DEVICE bool is_seen(const struct scope &s, int at)
{
    return at >= s.low && at < s.end;
}

/* Of f32, Q8_0 and FP8: values i and i + 1, i even, of the position `offset` of a page. */
DEVICE uint32_t pair_of_values(const struct pages &pages, const unsigned char *plane, int offset,
                               int i)
{
    const int at = offset * pages.head_dim + i;
    if (pages.number == KV_F32) {
        const float *values = (const float *)plane + at;
        return pack_f16(values[0], values[1]);
    }
    const uint16_t pair = *(const uint16_t *)(plane + pages.scale_bytes + at);
    if (pages.number == KV_E4M3)
        return e4m3_pair(pair);
    const float scale =
        f16_to_float(((const uint16_t *)plane)[offset * pages.num_scales + i / 32]);
    return pack_f16(scale * (float)(signed char)pair, scale * (float)(signed char)(pair >> 8));
}

/* A tile of such, two values in turn: registers are what sums need. */
DEVICE void convert_tile(const struct attention_args &args, const struct scope &s, int pos,
                         int plane, uint16_t *to, int stride, int thread, int threads)
{
    const struct pages &pages = args.pages;
    const int pairs = pages.head_dim / 2;
#pragma unroll 1
    for (int i = thread; i < ATTENTION_TILE * pairs; i += threads) {
        const int at = pos + i / pairs, d = i % pairs * 2, offset = at % pages.block_size;
        uint32_t word = 0;
        if (is_seen(s, at))
            word = pair_of_values(pages, plane_of(args, s, at, plane), offset, d);
        *(uint32_t *)(to + i / pairs * stride + d) = word;
    }
}

/* One tile of a plane into [64][stride]; what nobody sees becomes zero. It is f16 when copy_wait()
 * and then widen_tile() are over. */
DEVICE void load_tile(const struct attention_args &args, const struct scope &s, int pos, int plane,
                      uint16_t *to, int stride, int thread, int threads)
{
    const struct pages &pages = args.pages;
    const int chunk = chunk_of(pages), row_bytes = chunk == 16 ? pages.head_dim : 2 * pages.head_dim;
    if (chunk == 0) {
        convert_tile(args, s, pos, plane, to, stride, thread, threads);
        return;
    }
    const int chunks = pages.head_dim / chunk;
    for (int i = thread; i < ATTENTION_TILE * chunks; i += threads) {
        const int at = pos + i / chunks, k = i % chunks;
        const bool there = is_seen(s, at);
        const unsigned char *from =
            there ? plane_of(args, s, at, plane) + (int64_t)(at % pages.block_size) * row_bytes +
                        16 * k
                  : s.keys;
        copy_async(to + i / chunks * stride + k * chunk, from, there);
    }
}

DEVICE uint32_t f16_of_bf16(uint32_t pair)
{
    return pack_f16(bits_float(pair << 16), bits_float(pair & 0xffff0000u));
}

/* What this thread's load_tile() brought becomes f16, where it lies. */
DEVICE void widen_tile(const struct pages &pages, uint16_t *tile, int stride, int thread,
                       int threads)
{
    const int chunk = chunk_of(pages);
    if (pages.number == KV_F16 || chunk == 0)
        return;
    const int chunks = pages.head_dim / chunk;
#pragma unroll 1
    for (int i = thread; i < ATTENTION_TILE * chunks; i += threads) {
        uint4 *at = (uint4 *)(tile + i / chunks * stride + i % chunks * chunk);
        const uint4 v = *at;
        if (chunk == 8) {
            *at = make_uint4(f16_of_bf16(v.x), f16_of_bf16(v.y), f16_of_bf16(v.z),
                             f16_of_bf16(v.w));
        } else {
            at[0] = make_uint4(e4m3_pair(v.x), e4m3_pair(v.x >> 16), e4m3_pair(v.y),
                               e4m3_pair(v.y >> 16));
            at[1] = make_uint4(e4m3_pair(v.z), e4m3_pair(v.z >> 16), e4m3_pair(v.w),
                               e4m3_pair(v.w >> 16));
        }
    }
}

/* Columns [head_dim, dim) of [64][stride], that loads leave alone. */
DEVICE void clear_tail(uint16_t *tile, int rows, int head_dim, int dim, int stride, int thread,
                       int threads)
{
    const int tail = dim - head_dim;
    for (int i = thread; i < rows * tail; i += threads)
        tile[i / tail * stride + head_dim + i % tail] = 0;
}

/* Queries [first, first + num) times the scale, as f16; beyond s.queries zeros. */
DEVICE void load_queries(const struct attention_args &args, const struct scope &s, int first,
                         int num, int dim, uint16_t *to, int stride, int thread, int threads)
{
    const int head_dim = args.pages.head_dim;
    for (int i = thread; i < num * dim; i += threads) {
        const int q = first + i / dim, d = i % dim;
        float value = 0.0f;
        if (q < s.queries && d < head_dim) {
            const int64_t row = s.part.first_row + s.part.row + q / s.num_heads;
            const int head = s.first_head + q % s.num_heads;
            value = args.qkv[row * args.q_stride + (int64_t)head * head_dim + d] * args.scale;
        }
        to[i / dim * stride + d] = (uint16_t)pack_f16(value, 0.0f);
    }
}

DEVICE uint32_t pair_at(const uint16_t *at)
{
    return *(const uint32_t *)at;
}

/* Scores of 16 queries by 8 positions, over `dim` of both. */
DEVICE void score_block(float c[4], const uint16_t *queries, const uint16_t *keys, int dim,
                        int stride, int lane)
{
    const int g = lane / 4, t = lane & 3;
    c[0] = c[1] = c[2] = c[3] = 0.0f;
    for (int k = 0; k < dim; k += 16) {
        const uint16_t *q = queries + g * stride + k + 2 * t, *key = keys + g * stride + k + 2 * t;
        const uint32_t a[4] = { pair_at(q), pair_at(q + 8 * stride), pair_at(q + 8),
                                pair_at(q + 8 * stride + 8) };
        mma_f16(c, a, pair_at(key), pair_at(key + 8));
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
    return args.softcap > 0.0f ? args.softcap * tanhf(score / args.softcap) : score;
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

/* exp(x - max), and 0 where max is -inf: nothing was seen. */
DEVICE float exp_below(float x, float max)
{
    return max == -INFINITY ? 0.0f : exp_of(x - max);
}

/* Scores [16][64] of a tile at `pos` become weights; returns their maxima and sums. */
DEVICE void soften_tile(const struct attention_args &args, const struct scope &s, int first_query,
                        int pos, float c[SCORE_TILES][4], struct pair_of *max, struct pair_of *sum)
{
    const int lane = lane_of(), g = lane / 4, t = lane & 3;
    int low[2], high[2];
    sight(args, s, first_query + g, &low[0], &high[0]);
    sight(args, s, first_query + g + 8, &low[1], &high[1]);
    float most[2] = { -INFINITY, -INFINITY }, total[2] = { 0.0f, 0.0f };
#pragma unroll
    for (int n = 0; n < SCORE_TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int at = pos + 8 * n + 2 * t + (i & 1);
            const bool seen = at >= low[i / 2] && at <= high[i / 2];
            c[n][i] = seen ? capped(args, c[n][i]) : -INFINITY;
            most[i / 2] = fmaxf(most[i / 2], c[n][i]);
        }
    most[0] = quad_max(most[0]);
    most[1] = quad_max(most[1]);
#pragma unroll
    for (int n = 0; n < SCORE_TILES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            c[n][i] = exp_below(c[n][i], most[i / 2]);
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
    j.old_factor = exp_below(old_max, j.max);
    j.new_factor = exp_below(new_max, j.max);
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
    a[0] = pack_f16(c[2 * k][0], c[2 * k][1]);
    a[1] = pack_f16(c[2 * k][2], c[2 * k][3]);
    a[2] = pack_f16(c[2 * k + 1][0], c[2 * k + 1][1]);
    a[3] = pack_f16(c[2 * k + 1][2], c[2 * k + 1][3]);
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

/* A tile's weights times V [64][stride] join the running sums. */
template <int DIM>
DEVICE void add_tile(struct running<DIM> &r, const float c[SCORE_TILES][4], struct pair_of max,
                     struct pair_of sum, const uint16_t *values, int stride)
{
    const struct joint low = join(r.max.low, max.low), high = join(r.max.high, max.high);
    const uint16_t *row = values + (lane_of() & 15) * stride;
    uint32_t a[ATTENTION_TILE / 16][4];
#pragma unroll
    for (int k = 0; k < ATTENTION_TILE / 16; k++)
        weights_of(c, k, a[k]);
#pragma unroll
    for (int n = 0; n < DIM / 8; n++) {
        float part[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
#pragma unroll
        for (int k = 0; k < ATTENTION_TILE / 16; k++) {
            uint32_t b0, b1;
            load_turned(&b0, &b1, row + 16 * k * stride + 8 * n);
            mma_f16(part, a[k], b0, b1);
        }
        r.acc[n][0] = joined(low, r.acc[n][0], part[0]);
        r.acc[n][1] = joined(low, r.acc[n][1], part[1]);
        r.acc[n][2] = joined(high, r.acc[n][2], part[2]);
        r.acc[n][3] = joined(high, r.acc[n][3], part[3]);
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

/* Queries [first, first + 16) of the part from their sums to the output, `value_dim` of `dim`. */
DEVICE void write_out(const struct attention_args &args, const struct scope &s, int first,
                      const float *sums, int dim, int value_dim, int thread, int threads)
{
    for (int i = thread; i < 16 * value_dim; i += threads) {
        const int q = i / value_dim, d = i % value_dim;
        if (first + q >= s.queries)
            continue;
        const int64_t row = s.part.first_row + s.part.row + (first + q) / s.num_heads;
        const int head = s.first_head + (first + q) % s.num_heads;
        number_store(args.out, args.number, (row * args.num_heads + head) * value_dim + d,
                     sums[q * dim + d] / sums[16 * dim + 16 + q]);
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
        write_out(args, s, 0, sums, dim, value_dim, thread, threads);
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
        write_out(args, s, 0, sums, dim, value_dim, thread, threads);
    }
    block_sync();
}

DEVICE const struct attention_part *parts_at(const struct attention_args &args, int64_t offset)
{
    return (const struct attention_part *)(args.tables + offset);
}

#endif
