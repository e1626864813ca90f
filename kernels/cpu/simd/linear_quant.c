/*
 * Weights in blocks times activations in blocks: integer dot products of four inputs per lane, a
 * lane an output. Compiled a third time where the processor has VNNI; the integers are the same.
 *
 * Few rows are bound by bytes of w: several panels at once are as many streams of memory. Many
 * rows pass over a panel while it is in the second-level cache.
 */
#include "kernels/cpu/simd/ints.h"
#include "kernels/cpu/simd/ops.h"

#if defined(__AVX512VNNI__)
#define NAME(name) name##_avx512_vnni
#elif defined(__ARM_FEATURE_DOTPROD)
#define NAME(name) name##_neon_dot
#else
#define NAME(name) SIMD(name)
#endif

enum { VEC_BYTES = VEC_LANES * 4, GROUP_BYTES = PANEL_ROWS * 4, AHEAD_BYTES = 4096 };

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

static ALWAYS_INLINE ivec load_ahead(const unsigned char *from, const bool ahead)
{
    if (ahead)
        __builtin_prefetch(from + AHEAD_BYTES, 0, 2);
    return ivec_load(from);
}

/* The bits above the low ones, at their place. */
static ALWAYS_INLINE ivec high_bits(const unsigned char *plane, const int half, const int g,
                                    const enum dtype dtype, const bool ahead)
{
    const int low = quant_forms[dtype].low;
    if (quant_forms[dtype].high == 1)
        return ivec_bits(load_ahead(plane, ahead && half == 0 && g == 0), 4 * half + g - low,
                         1 << low);
    return ivec_bits(load_ahead(plane + g / 2 * GROUP_BYTES, ahead && half == 0 && g % 2 == 0),
                     4 * half + g % 2 * 2 - low, 3 << low);
}

/* Quants of inputs 16 half + 4 g and the three behind it, in the lanes of one vector. */
static ALWAYS_INLINE ivec quants_of(const unsigned char *block, const int half, const int g,
                                    const enum dtype dtype, const bool ahead)
{
    const int low = quant_forms[dtype].low;
    ivec bits;
    if (low == 8)
        return load_ahead(block + (4 * half + g) * GROUP_BYTES, ahead);
    if (low == 4)
        bits = ivec_bits(load_ahead(block + g * GROUP_BYTES, ahead && half == 0), 4 * half, 15);
    else
        bits = ivec_bits(load_ahead(block + half * GROUP_BYTES, ahead && g == 0), 2 * g, 3);
    if (quant_forms[dtype].high == 0)
        return bits;
    return ivec_or(bits, high_bits(block + quant_low_bytes(dtype), half, g, dtype, ahead));
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

/* Scales of vector `i`. */
static ALWAYS_INLINE vec scale_of(const struct at_block *at, const int i, const enum dtype dtype,
                                  const int part)
{
    const size_t panel = (size_t)(i / PANEL_VECS) * at->panel_bytes;
    const size_t lane = (size_t)(i % PANEL_VECS * VEC_LANES);
    const unsigned char *tail = at->w + panel + quant_bytes(dtype);
    const uint16_t *head = (const uint16_t *)(const void *)(at->head + panel) + lane;
    if (part == 0 && lane == 0)
        __builtin_prefetch(tail + AHEAD_BYTES, 0, 2);
    switch (quant_forms[dtype].scale) {
    case QUANT_SCALE_F16:
        break;
    case QUANT_SCALE_BYTE:
        return vec_mul(vec_load_f16(head), vec_load_u8(tail + lane));
    case QUANT_SCALE_SIGNED:
        return vec_mul(vec_load_f16(head), vec_load_s8(tail + part * PANEL_ROWS + lane));
    case QUANT_SCALE_NIBBLE:
        return vec_mul(vec_load_f16(head), ivec_load_nibbles(tail + part * PANEL_ROWS + lane, 0));
    }
    return vec_load_f16((const uint16_t *)(const void *)tail + lane);
}

/* Minima of a type that has some; those that are added are negative. */
static ALWAYS_INLINE vec minimum_of(const struct at_block *at, const int i, const enum dtype dtype,
                                    const int part)
{
    const size_t panel = (size_t)(i / PANEL_VECS) * at->panel_bytes;
    const size_t lane = (size_t)(i % PANEL_VECS * VEC_LANES);
    const unsigned char *tail = at->w + panel + quant_bytes(dtype);
    const uint16_t *head = (const uint16_t *)(const void *)(at->head + panel) + PANEL_ROWS + lane;
    if (quant_forms[dtype].minimum == QUANT_MINIMUM_F16)
        return vec_mul(vec_set(-1.0f),
                       vec_load_f16((const uint16_t *)(const void *)tail + PANEL_ROWS + lane));
    if (quant_forms[dtype].minimum == QUANT_MINIMUM_BYTE)
        return vec_mul(vec_load_f16(head), vec_load_u8(tail + PANEL_ROWS + lane));
    return vec_mul(vec_load_f16(head), ivec_load_nibbles(tail + part * PANEL_ROWS + lane, 4));
}

/* The integers of a part, scaled, onto the sums. */
static ALWAYS_INLINE void add_dots(const struct at_block *at, const int rows, const int width,
                                   const enum dtype dtype, const int part, const ivec *dots,
                                   vec *sums)
{
    const bool has_minima = quant_forms[dtype].minimum != QUANT_MINIMUM_NONE;
    UNROLLED
    for (int i = 0; i < width; i++) {
        const vec scale = scale_of(at, i, dtype, part);
        const vec minimum = has_minima ? minimum_of(at, i, dtype, part) : vec_set(0.0f);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            const float x_scale = at->scales[r * at->blocks];
            vec *sum = &sums[r * width + i];
            *sum =
                vec_fma(ivec_to_float(dots[r * width + i]), vec_mul(scale, vec_set(x_scale)), *sum);
            if (has_minima)
                *sum =
                    vec_fma(minimum, vec_set(-(x_scale * (float)sum_of(at, r, dtype, part))), *sum);
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
    static void type##_##rows##x##panels(const struct linear_args *args, int64_t row,              \
                                         int32_t panel)                                            \
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
#define OF(rows, panels, type) [DTYPE_##type - DTYPE_Q8_0] = type##_##rows##x##panels
#define ENTRY(rows, panels)                                                                        \
    {                                                                                              \
        OF(rows, panels, Q8_0), OF(rows, panels, Q4_0), OF(rows, panels, Q4_K),                    \
            OF(rows, panels, Q6_K), OF(rows, panels, Q4_1), OF(rows, panels, Q5_0),                \
            OF(rows, panels, Q5_1), OF(rows, panels, Q2_K), OF(rows, panels, Q3_K),                \
            OF(rows, panels, Q5_K)                                                                 \
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
enum { MANY_ROWS = 6, MOST_ROWS = 8 };
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
enum { MANY_ROWS = 2, MOST_ROWS = 2 };
static kernel_function *const single[MANY_ROWS][NUM_TYPES] = { ENTRY(1, 1), ENTRY(2, 1) };
static kernel_function *const several[MANY_ROWS][NUM_TYPES] = { ENTRY(1, 1), ENTRY(2, 1) };
static const int32_t num_several[MANY_ROWS] = { 1, 1 };
#endif

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
