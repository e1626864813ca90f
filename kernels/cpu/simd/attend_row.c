/*
 * One row's few queries, K and V read from their pages: each value is widened once, in a register,
 * for up to four heads. What is summed, and in which order, is as in tile.c: a lane is a position
 * or a column, and adds its terms one FMA each.
 */
#include "kernels/cpu/simd/attend.h"

enum {
    BLOCK = ATTENTION_BLOCK,
    MAX_HEADS = 8, /* more are a tile's work: what is widened is then used often enough */
    MANY = 4,      /* heads at once */
    COLUMNS = 2,   /* vectors of V at once, at least; PANEL_ROWS holds them */
    MAX_PARTS = BLOCK / VEC_LANES
};

bool SIMD(attend_is_direct)(const struct attention_args *args, const struct attention_tile *tile)
{
    const struct kv_layout *layout = &args->pool->layout;
    return tile->num_rows == 1 && tile->num_heads <= MAX_HEADS && layout->latent_dim == 0 &&
           layout->block_size % VEC_LANES == 0;
}

static ALWAYS_INLINE int64_t size_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 4 : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 2 : 1;
}

/* K in the page of position `pos`. */
static const unsigned char *keys_at(const struct attention_args *args,
                                    const struct attention_tile *tile, int32_t pos)
{
    return kv_keys(args->pool, attention_block(args, tile, pos), args->layer, tile->kv_head);
}

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* --- scores --------------------------------------------------------------------------------- */

/* Some vectors of positions: where their K and scales begin. */
struct columns {
    const unsigned char *keys[MAX_PARTS], *ahead[MAX_PARTS]; /* a block further on */
    const uint16_t *scales[MAX_PARTS];
};

struct score_job {
    const struct kv_layout *layout;
    struct columns columns;
    const float *queries; /* of the first head */
    float *scores;        /* of the first head and vector */
};

static ALWAYS_INLINE void score_kernel(const struct score_job *job, const int heads,
                                       const int parts, const enum dtype dtype)
{
    const int32_t dim = job->layout->head_dim;
    const int64_t stride = job->layout->block_size;
    const int32_t step = dtype == DTYPE_Q8_0 ? KV_QUANT : dim;
    const int64_t bytes = stride * size_of(dtype);
    vec sums[MANY][MAX_PARTS], scales[MAX_PARTS];

    UNROLLED
    for (int h = 0; h < heads; h++) {
        UNROLLED
        for (int p = 0; p < parts; p++)
            sums[h][p] = vec_set(0.0f);
    }
    for (int32_t from = 0; from < dim; from += step) {
        const int32_t to = min_i32(from + step, dim);
        UNROLLED
        for (int p = 0; p < parts; p++)
            scales[p] = dtype == DTYPE_Q8_0
                            ? vec_load_f16(job->columns.scales[p] + from / KV_QUANT * stride)
                            : vec_set(1.0f);
        for (int32_t d = from; d < to; d++) {
            vec k[MAX_PARTS];
            if (d * bytes % 64 == 0) {
                UNROLLED
                for (int p = 0; p < parts; p++)
                    __builtin_prefetch(job->columns.ahead[p] + d * bytes, 0, 2);
            }
            UNROLLED
            for (int p = 0; p < parts; p++) {
                k[p] = attend_load(dtype, job->columns.keys[p], d * stride);
                if (dtype == DTYPE_Q8_0)
                    k[p] = vec_mul(k[p], scales[p]);
            }
            UNROLLED
            for (int h = 0; h < heads; h++) {
                const vec q = vec_set(job->queries[h * dim + d]);
                UNROLLED
                for (int p = 0; p < parts; p++)
                    sums[h][p] = vec_fma(k[p], q, sums[h][p]);
            }
        }
    }
    UNROLLED
    for (int h = 0; h < heads; h++) {
        UNROLLED
        for (int p = 0; p < parts; p++)
            vec_store(job->scores + h * BLOCK + p * VEC_LANES, sums[h][p]);
    }
}

/* --- values --------------------------------------------------------------------------------- */

/* Positions of one page, of those that a row sees. */
struct rows {
    const unsigned char *values, *ahead; /* of the first; the same a block further on */
    const uint16_t *scales;
    int32_t first, num; /* within the block */
};

struct value_job {
    const struct kv_layout *layout;
    struct rows rows[MAX_PARTS + 1];
    int32_t num_rows, column; /* of rows[]; the first column */
    const float *weights;     /* of the first head */
    float *acc;               /* the same, of the first column */
    int64_t acc_stride;
};

static ALWAYS_INLINE void value_kernel(const struct value_job *job, const int heads,
                                       const int columns, const enum dtype dtype)
{
    const int32_t dim = job->layout->head_dim, num_scales = kv_num_scales(job->layout);
    vec sums[MANY][4];

    UNROLLED
    for (int h = 0; h < heads; h++) {
        UNROLLED
        for (int c = 0; c < columns; c++)
            sums[h][c] = vec_load(job->acc + h * job->acc_stride + c * VEC_LANES);
    }
    for (int32_t r = 0; r < job->num_rows; r++) {
        const struct rows *rows = &job->rows[r];
        for (int32_t i = 0; i < rows->num; i++) {
            const uint16_t *scales = rows->scales + i * num_scales + job->column / KV_QUANT;
            vec v[4];
            UNROLLED
            for (int c = 0; c < columns; c++) {
                const int64_t at = (int64_t)i * dim + job->column + c * VEC_LANES;
                v[c] = attend_load(dtype, rows->values, at);
                if (c * VEC_LANES * size_of(dtype) % 64 == 0)
                    __builtin_prefetch(rows->ahead + at * size_of(dtype), 0, 2);
                if (dtype == DTYPE_Q8_0)
                    v[c] = vec_mul(v[c], vec_set_f16(scales + c * VEC_LANES / KV_QUANT));
            }
            UNROLLED
            for (int h = 0; h < heads; h++) {
                const vec p = vec_set(job->weights[h * BLOCK + rows->first + i]);
                UNROLLED
                for (int c = 0; c < columns; c++)
                    sums[h][c] = vec_fma(v[c], p, sums[h][c]);
            }
        }
    }
    UNROLLED
    for (int h = 0; h < heads; h++) {
        UNROLLED
        for (int c = 0; c < columns; c++)
            vec_store(job->acc + h * job->acc_stride + c * VEC_LANES, sums[h][c]);
    }
}

/* --- one function per number of heads and type ---------------------------------------------- */

#define PARTS(heads) (VEC_LANES == 16 ? 4 : (heads) <= 2 ? 4 : 2)
#define WIDE         (VEC_LANES == 16 ? 4 : 2)

#define ONE(heads, type)                                                                           \
    static void score_##heads##_##type(const struct score_job *job)                                \
    {                                                                                              \
        score_kernel(job, heads, PARTS(heads), DTYPE_##type);                                      \
    }                                                                                              \
    static void value_##heads##_##type(const struct value_job *job, bool is_wide)                  \
    {                                                                                              \
        if (is_wide)                                                                               \
            value_kernel(job, heads, WIDE, DTYPE_##type);                                          \
        else                                                                                       \
            value_kernel(job, heads, COLUMNS, DTYPE_##type);                                       \
    }
#define TYPE(type) ONE(1, type) ONE(2, type) ONE(3, type) ONE(4, type)
#define NAMES(kind, type)                                                                          \
    [DTYPE_##type] = { kind##_1_##type, kind##_2_##type, kind##_3_##type, kind##_4_##type }
#define ALL_NAMES(kind)                                                                            \
    {                                                                                              \
        NAMES(kind, F32), NAMES(kind, F16), NAMES(kind, BF16), NAMES(kind, Q8_0),                  \
            NAMES(kind, F8_E4M3)                                                                   \
    }

TYPE(F32)
TYPE(F16)
TYPE(BF16)
TYPE(Q8_0)
TYPE(F8_E4M3)

static void (*const score_functions[][MANY])(const struct score_job *job) = ALL_NAMES(score);
static void (*const value_functions[][MANY])(const struct value_job *job,
                                             bool is_wide) = ALL_NAMES(value);

/* --- all heads ------------------------------------------------------------------------------ */

/* What is asked of a block: positions [from, to), of which the block at `first` has all. */
struct range {
    int32_t first, from, to;
};

/* The same a block further on, or where this row sees nothing of it the page itself. */
static const unsigned char *keys_ahead(const struct attention_args *args,
                                       const struct attention_tile *tile, int32_t pos,
                                       const unsigned char *keys)
{
    return pos + BLOCK <= attention_pos(tile, 0) ? keys_at(args, tile, pos + BLOCK) : keys;
}

/* `num` vectors of positions from `pos` on; where one has none of the range, another is read. */
static struct columns columns_at(const struct attention_args *args,
                                 const struct attention_tile *tile, const struct range *range,
                                 int32_t pos, int32_t num)
{
    const struct kv_pool *pool = args->pool;
    struct columns columns;
    for (int32_t p = 0; p < num; p++) {
        int32_t at = pos + p * VEC_LANES;
        if (at + VEC_LANES <= range->from || at >= range->to)
            at = range->from / VEC_LANES * VEC_LANES;
        const int32_t offset = at % pool->layout.block_size;
        const unsigned char *keys = keys_at(args, tile, at);
        const size_t begin = pool->scale_bytes + (size_t)(offset * size_of(pool->layout.dtype));
        columns.keys[p] = keys + begin;
        columns.ahead[p] = keys_ahead(args, tile, at, keys) + begin;
        columns.scales[p] = (const uint16_t *)(const void *)keys + offset;
    }
    return columns;
}

void SIMD(attend_scores)(const struct attention_args *args, const struct attention_tile *tile,
                         int32_t first, int32_t from, int32_t to, struct attention_scratch *scratch)
{
    const struct kv_layout *layout = &args->pool->layout;
    const struct range range = { first, from, to };
    for (int32_t head = 0; head < tile->num_heads; head += MANY) {
        const int32_t num = min_i32(tile->num_heads - head, MANY);
        const int32_t step = PARTS(num) * VEC_LANES;
        for (int32_t pos = first + (from - first) / step * step; pos < to; pos += step) {
            const struct score_job job = { layout, columns_at(args, tile, &range, pos, PARTS(num)),
                                           scratch->queries + head * layout->head_dim,
                                           scratch->scores + head * BLOCK + pos - first };
            score_functions[layout->dtype][num - 1](&job);
        }
    }
}

static void set_rows(const struct attention_args *args, const struct attention_tile *tile,
                     const struct range *range, struct value_job *job)
{
    const struct kv_pool *pool = args->pool;
    const struct kv_layout *layout = &pool->layout;
    for (int32_t pos = range->from; pos < range->to;) {
        const int32_t offset = pos % layout->block_size;
        const int32_t num = min_i32(layout->block_size - offset, range->to - pos);
        const unsigned char *keys = keys_at(args, tile, pos);
        const unsigned char *plane = keys + pool->plane_bytes;
        const size_t begin =
            pool->scale_bytes + (size_t)(offset * layout->head_dim * size_of(layout->dtype));
        job->rows[job->num_rows++] =
            (struct rows){ plane + begin,
                           keys_ahead(args, tile, pos, keys) + pool->plane_bytes + begin,
                           (const uint16_t *)(const void *)plane + offset * kv_num_scales(layout),
                           pos - range->first, num };
        pos += num;
    }
}

void SIMD(attend_values)(const struct attention_args *args, const struct attention_tile *tile,
                         int32_t first, int32_t from, int32_t to,
                         const struct attention_scratch *scratch, const struct attention_sum *sum)
{
    const struct kv_layout *layout = &args->pool->layout;
    const struct range range = { first, from, to };
    struct value_job job = { .layout = layout, .acc_stride = args->padded_dim };
    set_rows(args, tile, &range, &job);
    for (int32_t head = 0; head < tile->num_heads; head += MANY) {
        const int32_t num = min_i32(tile->num_heads - head, MANY);
        job.weights = scratch->scores + head * BLOCK;
        for (job.column = 0; job.column < args->padded_dim;) {
            const bool is_wide = args->padded_dim - job.column >= WIDE * VEC_LANES;
            job.acc = sum->acc + head * args->padded_dim + job.column;
            value_functions[layout->dtype][num - 1](&job, is_wide);
            job.column += (is_wide ? WIDE : COLUMNS) * VEC_LANES;
        }
    }
}
