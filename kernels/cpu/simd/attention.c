/*
 * Attention of one tile over one span, in blocks of 64 positions: widen K and V of the block
 * from their pages, scores by tile_run() with positions as lanes, one softmax step per query,
 * the weighted sum of V by tile_run() again.
 *
 * In the blocks where the tile's rows end, the sum over V runs for all rows together over the
 * positions that all see, and goes on for each row over exactly its own: a row never multiplies
 * by what lies behind it, so its bits do not depend on the tile it is in. Where a window ends it
 * is the same at the other end: what lies before a row's window is not multiplied, nor read where
 * no row of the tile sees it.
 */
#include <math.h>

#include "kernels/cpu/simd/attend.h"
#include "kernels/cpu/simd/tile.h"

enum { BLOCK = ATTENTION_BLOCK, MAX_QUERIES = ATTENTION_MAX_QUERIES };

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Where query i's values lie, in rows of `stride` with heads of `dim`. */
static int64_t query_offset(const struct attention_tile *tile, int32_t i, int64_t stride,
                            int32_t dim)
{
    const int64_t row = tile->seq->first_row + tile->first_row + i / tile->num_heads;
    const int32_t head = tile->first_head + i % tile->num_heads;
    return row * stride + head * dim;
}

void SIMD(attention_begin)(const struct attention_args *args, const struct attention_tile *tile,
                           struct attention_scratch *scratch)
{
    const int32_t dim = args->pool->layout.head_dim;
    const vec scale = vec_set(args->form.scale);

    for (int32_t i = 0; i < tile->num_rows * tile->num_heads; i++) {
        const float *from = args->qkv + query_offset(tile, i, args->q_stride, dim);
        float *to = scratch->queries + i * dim;
        for (int32_t d = 0; d < dim; d += VEC_LANES) {
            const int32_t n = min_i32(dim - d, VEC_LANES);
            vec_store_part(to + d, vec_mul(vec_load_part(from + d, n), scale), n);
        }
    }
}

static void scale_acc(float *acc, float factor, int32_t num)
{
    const vec f = vec_set(factor);
    for (int32_t d = 0; d < num; d += VEC_LANES)
        vec_store(acc + d, vec_mul(vec_load(acc + d), f));
}

static float exp_one(float a)
{
    float result;
    vec_store_part(&result, vec_exp(vec_set(a)), 1);
    return result;
}

/* Positions of a block: [from, to), from < to. */
struct seen {
    int32_t from, to;
};

/* scores[64] become exp(score - max) of those seen, 0 elsewhere; max, sum and acc follow. */
static void softmax_step(const struct attention_args *args, const struct attention_sum *sum,
                         int32_t query, float *scores, struct seen seen)
{
    enum { VECS = BLOCK / VEC_LANES };
    const vec none = vec_set(-INFINITY);
    vec s[VECS], largest = none, total = vec_set(0.0f);

    UNROLLED
    for (int32_t i = 0; i < VECS; i++) {
        s[i] = vec_load(scores + i * VEC_LANES);
        if (args->form.softcap > 0.0f)
            s[i] = vec_soft_cap(s[i], args->form.softcap);
        s[i] = vec_select(seen.to - i * VEC_LANES, s[i], none);
        if (seen.from > 0)
            s[i] = vec_select(seen.from - i * VEC_LANES, none, s[i]);
        largest = vec_max(largest, s[i]);
    }
    const float max = fmaxf(sum->max[query], vec_largest(largest));

    UNROLLED
    for (int32_t i = 0; i < VECS; i++) {
        const vec p = vec_exp(vec_sub(s[i], vec_set(max)));
        vec_store(scores + i * VEC_LANES, p);
        total = vec_add(total, p);
    }

    float factor = 1.0f; /* by which nothing changes */
    if (sum->max[query] != max) {
        factor = exp_one(sum->max[query] - max);
        scale_acc(sum->acc + query * args->padded_dim, factor, args->padded_dim);
    }
    sum->sum[query] = sum->sum[query] * factor + vec_sum(total);
    sum->max[query] = max;
}

/* What of the block at `pos` a row sees. */
static struct seen seen_by(const struct attention_args *args, const struct attention_tile *tile,
                           int32_t row, int32_t pos)
{
    const int32_t low = attention_low(args, tile, row) - pos;
    return (struct seen){ low > 0 ? low : 0, min_i32(attention_pos(tile, row) + 1 - pos, BLOCK) };
}

/* acc += p V over positions [from, to) of the block, for rows [row, row_to). */
static void add_values(const struct attention_args *args, const struct attention_tile *tile,
                       const struct attention_scratch *scratch, const struct attention_sum *sum,
                       int32_t row, int32_t row_to, int32_t from, int32_t to)
{
    const int32_t query = row * tile->num_heads;
    const struct tile_job job = {
        .dtype = DTYPE_F32,
        .accumulate = true,
        .num_k = to - from,
        .x = scratch->scores + query * BLOCK + from,
        .x_stride = BLOCK,
        .w = scratch->values + from * args->padded_dim,
        .k_stride = args->padded_dim,
        .panel_stride = PANEL_ROWS,
        .out = sum->acc + query * args->padded_dim,
        .out_stride = args->padded_dim,
    };
    if (row < row_to && from < to)
        SIMD(tile_run)(&job, (row_to - row) * tile->num_heads, args->padded_dim / PANEL_ROWS);
}

static void make_scores(const struct attention_args *args, struct attention_scratch *scratch,
                        int32_t query, int32_t num_queries)
{
    const int32_t dim = args->pool->layout.head_dim;
    const struct tile_job job = {
        .dtype = DTYPE_F32,
        .num_k = dim,
        .x = scratch->queries + query * dim,
        .x_stride = dim,
        .w = scratch->keys,
        .k_stride = BLOCK,
        .panel_stride = PANEL_ROWS,
        .out = scratch->scores + query * BLOCK,
        .out_stride = BLOCK,
    };
    SIMD(tile_run)(&job, num_queries, BLOCK / PANEL_ROWS);
}

/* Rows [first, row_end), none of which sees less than the block's beginning. */
static void add_block(const struct attention_args *args, const struct attention_tile *tile,
                      int32_t pos, int32_t first, int32_t row_end,
                      const struct attention_scratch *scratch, const struct attention_sum *sum)
{
    const int32_t first_full = min_i32(attention_first_row(tile, pos + BLOCK - 1), row_end);
    const int32_t common = seen_by(args, tile, first, pos).to;

    add_values(args, tile, scratch, sum, first, row_end, 0, common);
    for (int32_t row = first + 1; row < first_full; row++)
        add_values(args, tile, scratch, sum, row, row + 1, common,
                   seen_by(args, tile, row, pos).to);
    add_values(args, tile, scratch, sum, first_full, row_end, common, BLOCK);
}

/* Where the window of some row begins within the block: each row over exactly its own, in order,
 * together where all see the same. */
static void add_window(const struct attention_args *args, const struct attention_tile *tile,
                       int32_t pos, int32_t first, int32_t row_end,
                       const struct attention_scratch *scratch, const struct attention_sum *sum)
{
    const int32_t from = seen_by(args, tile, row_end - 1, pos).from;
    const int32_t to = seen_by(args, tile, first, pos).to;
    for (int32_t row = first; row < row_end; row++) {
        const struct seen seen = seen_by(args, tile, row, pos);
        add_values(args, tile, scratch, sum, row, row + 1, seen.from, from < to ? from : seen.to);
    }
    if (from >= to)
        return;
    add_values(args, tile, scratch, sum, first, row_end, from, to);
    for (int32_t row = first; row < row_end; row++)
        add_values(args, tile, scratch, sum, row, row + 1, to, seen_by(args, tile, row, pos).to);
}

/* The block at `pos`, for the rows that see something of it. */
static void attend_block(const struct attention_args *args, const struct attention_tile *tile,
                         int32_t pos, struct attention_scratch *scratch,
                         const struct attention_sum *sum)
{
    const int32_t heads = tile->num_heads, first = attention_first_row(tile, pos);
    const int32_t row_end = attention_row_end(args, tile, pos + BLOCK - 1);

    make_scores(args, scratch, first * heads, (row_end - first) * heads);
    for (int32_t i = first * heads; i < row_end * heads; i++)
        softmax_step(args, sum, i, scratch->scores + i * BLOCK,
                     seen_by(args, tile, i / heads, pos));
    if (attention_low(args, tile, row_end - 1) <= pos)
        add_block(args, tile, pos, first, row_end, scratch, sum);
    else
        add_window(args, tile, pos, first, row_end, scratch, sum);
}

/* The same for one row, of which it sees positions [from, to). */
static void attend_row(const struct attention_args *args, const struct attention_tile *tile,
                       int32_t pos, int32_t from, int32_t to, struct attention_scratch *scratch,
                       const struct attention_sum *sum)
{
    SIMD(attend_scores)(args, tile, pos, from, to, scratch);
    for (int32_t i = 0; i < tile->num_heads; i++)
        softmax_step(args, sum, i, scratch->scores + i * BLOCK,
                     (struct seen){ from - pos, to - pos });
    SIMD(attend_values)(args, tile, pos, from, to, scratch, sum);
}

static void clear_sum(const struct attention_args *args, const struct attention_sum *sum,
                      int32_t num_queries)
{
    for (int32_t i = 0; i < num_queries; i++) {
        sum->max[i] = -INFINITY;
        sum->sum[i] = 0.0f;
    }
    memset(sum->acc, 0, (size_t)num_queries * (size_t)args->padded_dim * sizeof(float));
}

void SIMD(attention_span)(const struct attention_args *args, const struct attention_tile *tile,
                          int32_t span, struct attention_scratch *scratch,
                          const struct attention_sum *sum)
{
    const int32_t end = attention_pos(tile, tile->num_rows - 1) + 1;
    const int32_t begin = span * BACKEND_SPAN, to = min_i32(end, begin + BACKEND_SPAN);
    const int32_t low = attention_low(args, tile, 0);

    const bool is_direct = SIMD(attend_is_direct)(args, tile);

    clear_sum(args, sum, tile->num_rows * tile->num_heads);
    for (int32_t pos = low > begin ? low / BLOCK * BLOCK : begin; pos < to; pos += BLOCK) {
        const int32_t from = low > pos ? low : pos, block_to = min_i32(to, pos + BLOCK);
        if (is_direct) {
            attend_row(args, tile, pos, from, block_to, scratch, sum);
            continue;
        }
        SIMD(attend_widen)(args, tile, pos, from, block_to, scratch);
        attend_block(args, tile, pos, scratch, sum);
    }
}

void SIMD(attention_combine)(const struct attention_args *args, const struct attention_sum *total,
                             const struct attention_sum *sum, int32_t query_from, int32_t query_to)
{
    for (int32_t i = query_from; i < query_to; i++) {
        const float max = fmaxf(total->max[i], sum->max[i]);
        const float a = exp_one(total->max[i] - max), b = exp_one(sum->max[i] - max);
        float *to = total->acc + i * args->padded_dim;
        const float *from = sum->acc + i * args->padded_dim;

        for (int32_t d = 0; d < args->padded_dim; d += VEC_LANES) {
            const vec kept = vec_mul(vec_load(to + d), vec_set(a));
            vec_store(to + d, vec_fma(vec_load(from + d), vec_set(b), kept));
        }
        total->sum[i] = total->sum[i] * a + sum->sum[i] * b;
        total->max[i] = max;
    }
}

void SIMD(attention_end)(const struct attention_args *args, const struct attention_tile *tile,
                         const struct attention_sum *total)
{
    const int32_t dim = args->value_dim;
    const int64_t stride = (int64_t)args->num_heads * dim;
    for (int32_t i = 0; i < tile->num_rows * tile->num_heads; i++) {
        const vec sum = vec_set(total->sum[i]);
        const float *acc = total->acc + i * args->padded_dim;
        float *out = args->out + query_offset(tile, i, stride, dim);
        for (int32_t d = 0; d < dim; d += VEC_LANES) {
            const int32_t n = min_i32(dim - d, VEC_LANES);
            vec_store_part(out + d, vec_div(vec_load_part(acc + d, n), sum), n);
        }
    }
}
