/*
 * Weights in blocks times activations in blocks: integer dot products of four inputs per lane, a
 * lane an output. Compiled a third time where the processor has VNNI; the integers are the same.
 *
 * Few rows are bound by bytes of w: several panels at once are as many streams of memory. Many
 * rows pass over a panel while it is in the second-level cache.
 */
#include "kernels/cpu/simd/ops.h"
#include "kernels/cpu/simd/quants.h"

#if defined(__AVX512VNNI__)
#define NAME(name) name##_avx512_vnni
#elif defined(__ARM_FEATURE_DOTPROD)
#define NAME(name) name##_neon_dot
#else
#define NAME(name) SIMD(name)
#endif

enum { VEC_BYTES = VEC_LANES * 4 };

/* --- the kernel ----------------------------------------------------------------------------- */

static ALWAYS_INLINE ivec four_of(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof(four));
    return ivec_set(four);
}

/* What a tile of panels and rows is made of, at one block. Constant sizes everywhere below, so that
 * all of it stays in registers. */
struct at_block {
    const unsigned char *w, *head; /* of the first panel */
    size_t panel_bytes;
    const int8_t *q;
    const float *scales;
    const int32_t *sums;
    int64_t stride, blocks; /* of q, in bytes; of scales */
};

/* The inputs' integers of a part of the block that has one scale. */
static ALWAYS_INLINE int32_t sum_of(const struct at_block *at, int r, const enum dtype dtype,
                                    const int part)
{
    const int32_t *sums = at->sums + r * 2 * at->blocks;
    return quant_forms[dtype].terms == 2 ? sums[part] : sums[0] + sums[1];
}

static ALWAYS_INLINE int32_t start_of(const struct at_block *at, int r, const enum dtype dtype,
                                      const int part)
{
    const int offset = quant_forms[dtype].offset;
    return (dtype == DTYPE_Q8_0 ? START_128 : -offset) * sum_of(at, r, dtype, part);
}

/* Vector `i` of inputs 16 half + 4 g and the three behind: times the rows' inputs. */
static ALWAYS_INLINE void dot_group(const struct at_block *at, const int half, const int g,
                                    const int i, const int rows, const int width,
                                    const enum dtype dtype, ivec *dots)
{
    const int lanes = i % PANEL_VECS * VEC_BYTES;
    const unsigned char *block = at->w + (size_t)(i / PANEL_VECS) * at->panel_bytes + lanes;
    const ivec w = quants_of(block, half, g, dtype, lanes % 64 == 0);
    UNROLLED
    for (int r = 0; r < rows; r++) {
        ivec *dot = &dots[r * width + i];
        const ivec four = four_of(at->q + r * at->stride + 16 * half + 4 * g);
        *dot = dtype == DTYPE_Q8_0 ? ivec_dot_128(*dot, w, four) : ivec_dot(*dot, w, four);
    }
}

/* The integers of row `r` of a part, scaled, onto the sum. */
static ALWAYS_INLINE void add_scaled(const struct at_block *at, int r, const enum dtype dtype,
                                     const int part, vec scale, vec minimum, ivec dots, vec *sum)
{
    const float x_scale = at->scales[r * at->blocks];
    *sum = vec_fma(ivec_to_float(dots), vec_mul(scale, vec_set(x_scale)), *sum);
    if (quants_has_minima(dtype))
        *sum = vec_fma(minimum, vec_set(-(x_scale * (float)sum_of(at, r, dtype, part))), *sum);
}

/* The integers of a part, scaled, onto the sums. */
static ALWAYS_INLINE void add_dots(const struct at_block *at, const int rows, const int width,
                                   const enum dtype dtype, const int part, const ivec *dots,
                                   vec *sums)
{
    const bool has_minima = quants_has_minima(dtype);
    UNROLLED
    for (int i = 0; i < width; i++) {
        const size_t panel = (size_t)(i / PANEL_VECS) * at->panel_bytes;
        const size_t lane = (size_t)(i % PANEL_VECS * VEC_LANES);
        const unsigned char *block = at->w + panel, *head = at->head + panel;
        const vec scale = quants_scale(block, head, lane, dtype, part);
        const vec minimum =
            has_minima ? quants_minimum(block, head, lane, dtype, part) : vec_set(0.0f);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            const int at_sum = r * width + i;
            add_scaled(at, r, dtype, part, scale, minimum, dots[at_sum], &sums[at_sum]);
        }
    }
}

/* A part of one block, of `rows` rows and as many panels as `width` says, added to sums. */
static ALWAYS_INLINE void add_part(const struct at_block *at, const int rows, const int width,
                                   const enum dtype dtype, const int part, vec *sums)
{
    const int groups = 8 / quant_forms[dtype].terms;
    ivec dots[6 * 4 * PANEL_VECS];

    UNROLLED
    for (int r = 0; r < rows; r++) {
        const ivec first = ivec_set(start_of(at, r, dtype, part));
        UNROLLED
        for (int i = 0; i < width; i++)
            dots[r * width + i] = first;
    }

    UNROLLED
    for (int g = 0; g < groups; g++) {
        UNROLLED
        for (int i = 0; i < width; i++)
            dot_group(at, groups == 8 ? g / 4 : part, g % 4, i, rows, width, dtype, dots);
    }
    add_dots(at, rows, width, dtype, part, dots, sums);
}

/* `num_out` outputs of the first panel where there is only one, else all. */
static ALWAYS_INLINE void store(const struct linear_args *args, int64_t row, int32_t panel,
                                const int rows, const int width, const vec *sums)
{
    const int32_t first = panel * PANEL_ROWS;
    UNROLLED
    for (int r = 0; r < rows; r++) {
        float *out = args->out + (row + r) * args->out_stride + first;
        UNROLLED
        for (int i = 0; i < width; i++) {
            const int32_t left = args->weight->rows - first - i * VEC_LANES;
            const int32_t n = left < VEC_LANES ? left : VEC_LANES;
            if (n <= 0)
                break;
            const float *bias = args->bias ? args->bias + first + i * VEC_LANES : NULL;
            const vec sum = sums[r * width + i];
            vec_store_part(out + i * VEC_LANES, bias ? vec_add(sum, vec_load_part(bias, n)) : sum,
                           n);
        }
    }
}

static ALWAYS_INLINE void kernel(const struct linear_args *args, int64_t row, int32_t panel,
                                 const int rows, const int panels, const enum dtype dtype)
{
    const int64_t cols = args->weight->cols, blocks = cols / QUANT_BLOCK;
    const unsigned char *w = weight_panel(args->weight, panel);
    const int width = panels * PANEL_VECS;
    vec sums[6 * 4 * PANEL_VECS];

    UNROLLED
    for (int i = 0; i < rows * width; i++)
        sums[i] = vec_set(0.0f);
    for (int64_t b = 0; b < blocks; b++) {
        const struct at_block at = {
            .w = w + quant_block_at(dtype, b),
            .head = w + quant_head_at(dtype, b),
            .panel_bytes = weight_panel_bytes(args->weight),
            .q = args->quants.q + row * quant_stride(cols) + b * QUANT_BLOCK,
            .scales = args->quants.scales + row * blocks + b,
            .sums = args->quants.sums + 2 * (row * blocks + b),
            .stride = quant_stride(cols),
            .blocks = blocks,
        };
        add_part(&at, rows, width, dtype, 0, sums);
        if (quant_forms[dtype].terms == 2)
            add_part(&at, rows, width, dtype, 1, sums);
    }
    store(args, row, panel, rows, width, sums);
}

typedef void kernel_function(const struct linear_args *args, int64_t row, int32_t panel);

#define ONE(rows, panels, type)                                                                    \
    static void x##rows##x##panels##_##type(const struct linear_args *args, int64_t row,           \
                                            int32_t panel)                                         \
    {                                                                                              \
        kernel(args, row, panel, rows, panels, DTYPE_##type);                                      \
    }
#define KERNEL(rows, panels)                                                                       \
    ONE(rows, panels, Q8_0)                                                                        \
    ONE(rows, panels, Q4_0)                                                                        \
    ONE(rows, panels, Q4_K)                                                                        \
    ONE(rows, panels, Q6_K)                                                                        \
    ONE(rows, panels, Q4_1)                                                                        \
    ONE(rows, panels, Q5_0)                                                                        \
    ONE(rows, panels, Q5_1) ONE(rows, panels, Q2_K) ONE(rows, panels, Q3_K) ONE(rows, panels, Q5_K)
#define OF(prefix, type) [DTYPE_##type - DTYPE_Q8_0] = prefix##_##type
#define ENTRY(rows, panels)                                                                        \
    {                                                                                              \
        OF(x##rows##x##panels, Q8_0), OF(x##rows##x##panels, Q4_0), OF(x##rows##x##panels, Q4_K),  \
            OF(x##rows##x##panels, Q6_K), OF(x##rows##x##panels, Q4_1),                            \
            OF(x##rows##x##panels, Q5_0), OF(x##rows##x##panels, Q5_1),                            \
            OF(x##rows##x##panels, Q2_K), OF(x##rows##x##panels, Q3_K),                            \
            OF(x##rows##x##panels, Q5_K)                                                           \
    }
enum { NUM_TYPES = DTYPE_Q5_K - DTYPE_Q8_0 + 1 };

KERNEL(1, 1)
KERNEL(2, 1)

/* [rows - 1]: for one panel, and for as many at once as the registers allow. */
#if defined(__AVX512F__)
KERNEL(3, 1)
KERNEL(4, 1)
KERNEL(5, 1)
KERNEL(6, 1)
KERNEL(7, 1)
KERNEL(8, 1)
KERNEL(1, 4)
KERNEL(2, 2)
KERNEL(3, 2)
enum { MANY_ROWS = 6, MOST_ROWS = 8, FEW_ROWS = 2 * MOST_ROWS };
static kernel_function *const single[MOST_ROWS][NUM_TYPES] = { ENTRY(1, 1), ENTRY(2, 1),
                                                               ENTRY(3, 1), ENTRY(4, 1),
                                                               ENTRY(5, 1), ENTRY(6, 1),
                                                               ENTRY(7, 1), ENTRY(8, 1) };
static kernel_function *const several[MOST_ROWS][NUM_TYPES] = { ENTRY(1, 4), ENTRY(2, 2),
                                                                ENTRY(3, 2), ENTRY(4, 1),
                                                                ENTRY(5, 1), ENTRY(6, 1),
                                                                ENTRY(7, 1), ENTRY(8, 1) };
static const int32_t num_several[MOST_ROWS] = { 4, 2, 2, 1, 1, 1, 1, 1 };
#else
enum { MANY_ROWS = 2, MOST_ROWS = 2, FEW_ROWS = 8 };
static kernel_function *const single[MANY_ROWS][NUM_TYPES] = { ENTRY(1, 1), ENTRY(2, 1) };
static kernel_function *const several[MANY_ROWS][NUM_TYPES] = { ENTRY(1, 1), ENTRY(2, 1) };
static const int32_t num_several[MANY_ROWS] = { 1, 1 };
#endif

/* --- many rows ------------------------------------------------------------------------------ */

/* Rows that pass over widened blocks; their sums wait in the second-level cache. */
enum { PASS_ROWS = 256 };

struct scratch {
    struct quants_wide wide;
    _Alignas(64) float totals[(PASS_ROWS + MANY_ROWS) * PANEL_ROWS];
};

/* Some rows at `num` blocks of a panel. */
struct at_run {
    const struct linear_args *args;
    struct scratch *scratch;
    int64_t row, first; /* first block */
    int32_t num;
    float *totals; /* of the rows */
    int32_t panel;
    bool is_last; /* no block behind these */
};

/* The integers of a part, scaled, onto the sums. */
static ALWAYS_INLINE void scale_wide(const struct at_block *x, const struct quants_wide *wide,
                                     int32_t lane, const enum dtype dtype, const int part,
                                     const ivec *dots, vec *sums)
{
    enum { WIDTH = PANEL_VECS };
    const bool has_minima = quants_has_minima(dtype);
    UNROLLED
    for (int i = 0; i < WIDTH; i++) {
        const vec scale = vec_load(wide->scales + lane + i * VEC_LANES);
        const vec minimum =
            has_minima ? vec_load(wide->minima + lane + i * VEC_LANES) : vec_set(0.0f);
        UNROLLED
        for (int r = 0; r < MANY_ROWS; r++)
            add_scaled(x, r, dtype, part, scale, minimum, dots[r * WIDTH + i],
                       &sums[r * WIDTH + i]);
    }
}

/* A part of the widened block `b`, times the rows' inputs. */
static ALWAYS_INLINE void add_wide(const struct at_run *at, const struct at_block *x, int32_t b,
                                   const enum dtype dtype, const int part, vec *sums)
{
    enum { WIDTH = PANEL_VECS };
    const int terms = quant_forms[dtype].terms, groups = 8 / terms;
    const struct quants_wide *wide = &at->scratch->wide;
    const unsigned char *w = wide->w + b * QUANTS_BLOCK + part * groups * QUANTS_GROUP;
    const int8_t *q = x->q + part * groups * 4;
    ivec dots[MANY_ROWS * WIDTH];

    UNROLLED
    for (int i = 0; i < MANY_ROWS * WIDTH; i++)
        dots[i] = ivec_set(start_of(x, i / WIDTH, dtype, part));
    UNROLLED
    for (int g = 0; g < groups; g++) {
        ivec four[WIDTH];
        UNROLLED
        for (int i = 0; i < WIDTH; i++)
            four[i] = ivec_load(w + g * QUANTS_GROUP + i * VEC_BYTES);
        UNROLLED
        for (int r = 0; r < MANY_ROWS; r++) {
            const ivec inputs = four_of(q + r * x->stride + 4 * g);
            UNROLLED
            for (int i = 0; i < WIDTH; i++) {
                ivec *dot = &dots[r * WIDTH + i];
                *dot = dtype == DTYPE_Q8_0 ? ivec_dot_128(*dot, four[i], inputs)
                                           : ivec_dot(*dot, four[i], inputs);
            }
        }
    }
    scale_wide(x, wide, (b * terms + part) * PANEL_ROWS, dtype, part, dots, sums);
}

static ALWAYS_INLINE void run_wide(const struct at_run *at, const enum dtype dtype)
{
    enum { WIDTH = PANEL_VECS };
    const int64_t cols = at->args->weight->cols, blocks = cols / QUANT_BLOCK;
    vec sums[MANY_ROWS * WIDTH];

    UNROLLED
    for (int i = 0; i < MANY_ROWS * WIDTH; i++)
        sums[i] = at->first > 0 ? vec_load(at->totals + i * VEC_LANES) : vec_set(0.0f);
    for (int32_t b = 0; b < at->num; b++) {
        const int64_t block = at->row * blocks + at->first + b;
        const struct at_block x = {
            .q = at->args->quants.q + at->row * quant_stride(cols) + (at->first + b) * QUANT_BLOCK,
            .scales = at->args->quants.scales + block,
            .sums = at->args->quants.sums + 2 * block,
            .stride = quant_stride(cols),
            .blocks = blocks,
        };
        add_wide(at, &x, b, dtype, 0, sums);
        if (quant_forms[dtype].terms == 2)
            add_wide(at, &x, b, dtype, 1, sums);
    }
    if (at->is_last) {
        store(at->args, at->row, at->panel, MANY_ROWS, WIDTH, sums);
        return;
    }
    UNROLLED
    for (int i = 0; i < MANY_ROWS * WIDTH; i++)
        vec_store(at->totals + i * VEC_LANES, sums[i]);
}

/* A panel, widened some blocks at a time for all rows. The last rows, too few for a tile, are
 * computed with some before them, to the same bits. */
static ALWAYS_INLINE void run_panel(const struct linear_args *args, int32_t panel, int32_t row_from,
                                    int32_t row_to, struct scratch *scratch, const enum dtype dtype)
{
    const int64_t blocks = args->weight->cols / QUANT_BLOCK;
    for (int64_t first = 0; first < blocks; first += QUANTS_DEPTH) {
        const int64_t left = blocks - first;
        const int32_t num = left < QUANTS_DEPTH ? (int32_t)left : QUANTS_DEPTH;
        quants_widen(dtype, weight_panel(args->weight, panel), first, num, false, &scratch->wide);
        for (int32_t row = row_from; row < row_to; row += MANY_ROWS) {
            const struct at_run at = {
                .args = args,
                .scratch = scratch,
                .row = row + MANY_ROWS <= row_to ? row : row_to - MANY_ROWS,
                .first = first,
                .num = num,
                .totals = scratch->totals + (row - row_from) * PANEL_ROWS,
                .panel = panel,
                .is_last = left <= QUANTS_DEPTH,
            };
            run_wide(&at, dtype);
        }
    }
}

#define WIDE(type)                                                                                 \
    static void wide_##type(const struct linear_args *args, int32_t panel, int32_t row_from,       \
                            int32_t row_to, struct scratch *scratch)                               \
    {                                                                                              \
        run_panel(args, panel, row_from, row_to, scratch, DTYPE_##type);                           \
    }
WIDE(Q8_0)
WIDE(Q4_0)
WIDE(Q4_K)
WIDE(Q6_K)
WIDE(Q4_1)
WIDE(Q5_0)
WIDE(Q5_1)
WIDE(Q2_K)
WIDE(Q3_K)
WIDE(Q5_K)

static void (*const wide[NUM_TYPES])(const struct linear_args *args, int32_t panel,
                                     int32_t row_from, int32_t row_to, struct scratch *scratch) = {
    OF(wide, Q8_0), OF(wide, Q4_0), OF(wide, Q4_K), OF(wide, Q6_K), OF(wide, Q4_1),
    OF(wide, Q5_0), OF(wide, Q5_1), OF(wide, Q2_K), OF(wide, Q3_K), OF(wide, Q5_K),
};

static void run_many(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                     int32_t row_from, int32_t row_to)
{
    struct scratch scratch;
    for (int32_t row = row_from, end; row < row_to; row = end) {
        end = row_to - row <= PASS_ROWS + MANY_ROWS ? row_to : row + PASS_ROWS;
        for (int32_t panel = panel_from; panel < panel_to; panel++)
            wide[args->weight->dtype - DTYPE_Q8_0](args, panel, row, end, &scratch);
    }
}

/* --- the door ------------------------------------------------------------------------------- */

/* Rows of a tile. MANY_ROWS keep all sums in registers; up to two tiles are as even as they can be
 * and have up to MOST_ROWS, for with so few rows the bytes of a panel take longer than the sums
 * that lie in the first-level cache then, and each tile reads the panel again. */
static int32_t tile_rows(int32_t num)
{
    if (num > 2 * MOST_ROWS || MOST_ROWS == MANY_ROWS)
        return num < MANY_ROWS ? num : MANY_ROWS;
    return num <= MOST_ROWS ? num : (num + 1) / 2;
}

void NAME(linear_quant)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                        int32_t row_from, int32_t row_to)
{
    const int type = (int)args->weight->dtype - DTYPE_Q8_0;
    const int32_t rows = tile_rows(row_to - row_from);
    const int32_t whole_to = panel_to * PANEL_ROWS <= args->weight->rows ? panel_to : panel_to - 1;
    if (rows < 1)
        return;
    if (row_to - row_from > FEW_ROWS) {
        run_many(args, panel_from, panel_to, row_from, row_to);
        return;
    }
    const int32_t step = num_several[rows - 1];
    for (int32_t panel = panel_from; panel < panel_to;) {
        const bool is_several = panel + step <= whole_to;
        for (int32_t row = row_from; row < row_to; row += rows) {
            const int32_t n = row_to - row < rows ? row_to - row : rows;
            if (is_several && n == rows)
                several[n - 1][type](args, row, panel);
            else
                single[n - 1][type](args, row, panel);
        }
        panel += is_several ? step : 1;
    }
}
