/*
 * Weights in blocks times activations in blocks: integer dot products of four inputs per lane, a
 * lane an output. Compiled a third time where the processor has VNNI; the integers are the same.
 *
 * Few rows are bound by bytes of w: several panels at once are as many streams of memory. Many
 * rows pass over a panel while it is in the second-level cache.
 */
#include "kernels/cpu/simd/ops.h"

#if defined(__AVX512VNNI__)
#define NAME(name) name##_avx512_vnni
#elif defined(__ARM_FEATURE_DOTPROD)
#define NAME(name) name##_neon_dot
#else
#define NAME(name) SIMD(name)
#endif

/* --- integers: as many lanes as floats have ----------------------------------------------- */

#if defined(__aarch64__)

#include "kernels/cpu/simd/ints_neon.h"

#elif defined(__AVX512F__)

typedef __m512i ivec;

static ALWAYS_INLINE ivec ivec_set(int32_t value)
{
    return _mm512_set1_epi32(value);
}

static ALWAYS_INLINE ivec ivec_load(const unsigned char *from)
{
    return _mm512_loadu_si512(from);
}

static ALWAYS_INLINE ivec ivec_low(ivec a)
{
    return _mm512_and_si512(a, _mm512_set1_epi8(15));
}

static ALWAYS_INLINE ivec ivec_high(ivec a)
{
    return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15));
}

/* Two bits of each byte, from bit `shift` on, as its bits 4 and 5. */
static ALWAYS_INLINE ivec ivec_two_bits(ivec a, const int shift)
{
    const ivec bits = _mm512_and_si512(_mm512_srli_epi16(a, (unsigned)shift), _mm512_set1_epi8(3));
    return _mm512_slli_epi16(bits, 4);
}

static ALWAYS_INLINE ivec ivec_or(ivec a, ivec b)
{
    return _mm512_or_si512(a, b);
}

static ALWAYS_INLINE vec ivec_to_float(ivec a)
{
    return _mm512_cvtepi32_ps(a);
}

#if defined(__AVX512VNNI__)

/* sum + four unsigned bytes of w times four signed of x, per lane. */
static ALWAYS_INLINE ivec ivec_dot(ivec sum, ivec w, ivec x)
{
    return _mm512_dpbusd_epi32(sum, w, x);
}

static ALWAYS_INLINE ivec ivec_dot_128(ivec sum, ivec w, ivec x)
{
    return ivec_dot(sum, w, x);
}

enum { START_128 = -128 }; /* what w has too much */

#else

static ALWAYS_INLINE ivec add_pairs(ivec sum, ivec pairs)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

static ALWAYS_INLINE ivec ivec_dot(ivec sum, ivec w, ivec x)
{
    return add_pairs(sum, _mm512_maddubs_epi16(w, x));
}

/* Products of bytes up to 255 would not fit 16 bits: |w - 128| times x with its sign does. */
static ALWAYS_INLINE ivec ivec_dot_128(ivec sum, ivec w, ivec x)
{
    const ivec s = _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80));
    const ivec turned = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(s), _mm512_setzero_si512(), x);
    return add_pairs(sum, _mm512_maddubs_epi16(_mm512_abs_epi8(s), turned));
}

enum { START_128 = 0 };

#endif

#else

typedef __m256i ivec;

static ALWAYS_INLINE ivec ivec_set(int32_t value)
{
    return _mm256_set1_epi32(value);
}

static ALWAYS_INLINE ivec ivec_load(const unsigned char *from)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static ALWAYS_INLINE ivec ivec_low(ivec a)
{
    return _mm256_and_si256(a, _mm256_set1_epi8(15));
}

static ALWAYS_INLINE ivec ivec_high(ivec a)
{
    return _mm256_and_si256(_mm256_srli_epi16(a, 4), _mm256_set1_epi8(15));
}

static ALWAYS_INLINE ivec ivec_two_bits(ivec a, const int shift)
{
    const ivec bits = _mm256_and_si256(_mm256_srli_epi16(a, shift), _mm256_set1_epi8(3));
    return _mm256_slli_epi16(bits, 4);
}

static ALWAYS_INLINE ivec ivec_or(ivec a, ivec b)
{
    return _mm256_or_si256(a, b);
}

static ALWAYS_INLINE vec ivec_to_float(ivec a)
{
    return _mm256_cvtepi32_ps(a);
}

static ALWAYS_INLINE ivec add_pairs(ivec sum, ivec pairs)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static ALWAYS_INLINE ivec ivec_dot(ivec sum, ivec w, ivec x)
{
    return add_pairs(sum, _mm256_maddubs_epi16(w, x));
}

static ALWAYS_INLINE ivec ivec_dot_128(ivec sum, ivec w, ivec x)
{
    const ivec s = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
    return add_pairs(sum, _mm256_maddubs_epi16(_mm256_abs_epi8(s), _mm256_sign_epi8(x, s)));
}

enum { START_128 = 0 };

#endif

enum {
    START_8 = -8,
    START_32 = -32,
    VEC_BYTES = VEC_LANES * 4,
    GROUP_BYTES = PANEL_ROWS * 4,
    AHEAD_BYTES = 4096
};

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

static ALWAYS_INLINE int32_t start_of(const struct at_block *at, int r, const enum dtype dtype,
                                      const int half)
{
    const int32_t *sums = at->sums + r * 2 * at->blocks;
    if (dtype == DTYPE_Q6_K)
        return START_32 * sums[half];
    if (dtype == DTYPE_Q4_K)
        return 0;
    return (dtype == DTYPE_Q8_0 ? START_128 : START_8) * (sums[0] + sums[1]);
}

/* Vector `i` of group `g`: its bytes times the rows' inputs. Q6_K: of one half of the inputs. */
static ALWAYS_INLINE void dot_group(const struct at_block *at, const int g, const int i,
                                    const int rows, const int width, const enum dtype dtype,
                                    const int half, ivec *dots)
{
    const unsigned char *panel = at->w + (size_t)(i / PANEL_VECS) * at->panel_bytes;
    const size_t lanes = (size_t)(i % PANEL_VECS * VEC_BYTES);
    const unsigned char *from = panel + (size_t)(g * GROUP_BYTES) + lanes;
    const ivec bytes = ivec_load(from);
    ivec six = bytes;
    if (half == 0 && lanes % 64 == 0)
        __builtin_prefetch(from + AHEAD_BYTES, 0, 2);
    if (dtype == DTYPE_Q6_K) {
        const unsigned char *high =
            panel + quant_bytes(DTYPE_Q4_K) + (size_t)(g / 2 * GROUP_BYTES) + lanes;
        if (half == 0 && g % 2 == 0 && lanes % 64 == 0)
            __builtin_prefetch(high + AHEAD_BYTES, 0, 2);
        six = ivec_or(half == 0 ? ivec_low(bytes) : ivec_high(bytes),
                      ivec_two_bits(ivec_load(high), g % 2 * 2 + half * 4));
    }
    UNROLLED
    for (int r = 0; r < rows; r++) {
        ivec *dot = &dots[r * width + i];
        const int8_t *four = at->q + r * at->stride + 4 * g;
        if (dtype == DTYPE_Q8_0) {
            *dot = ivec_dot_128(*dot, bytes, four_of(four));
        } else if (dtype == DTYPE_Q6_K) {
            *dot = ivec_dot(*dot, six, four_of(four + 16 * half));
        } else {
            *dot = ivec_dot(*dot, ivec_low(bytes), four_of(four));
            *dot = ivec_dot(*dot, ivec_high(bytes), four_of(four + 16));
        }
    }
}

/* Scales, and for Q4_K minima, of vector `i`. */
static ALWAYS_INLINE vec scale_of(const struct at_block *at, const int i, const enum dtype dtype,
                                  const int half, vec *minimum)
{
    const size_t panel = (size_t)(i / PANEL_VECS) * at->panel_bytes;
    const size_t lane = (size_t)(i % PANEL_VECS * VEC_LANES);
    const unsigned char *scales = at->w + panel + quant_bytes(dtype);
    const uint16_t *head = (const uint16_t *)(const void *)(at->head + panel) + lane;
    if (half == 0 && lane == 0)
        __builtin_prefetch(scales + AHEAD_BYTES, 0, 2);
    if (dtype == DTYPE_Q6_K)
        return vec_mul(vec_load_f16(head), vec_load_s8(scales + half * PANEL_ROWS + lane));
    if (dtype != DTYPE_Q4_K)
        return vec_load_f16((const uint16_t *)(const void *)scales + lane);
    *minimum = vec_mul(vec_load_f16(head + PANEL_ROWS), vec_load_u8(scales + PANEL_ROWS + lane));
    return vec_mul(vec_load_f16(head), vec_load_u8(scales + lane));
}

/* One block, or its half, of `rows` rows and as many panels as `width` says, added to sums. */
static ALWAYS_INLINE void add_block(const struct at_block *at, const int rows, const int width,
                                    const enum dtype dtype, const int half, vec *sums)
{
    const int groups = dtype == DTYPE_Q8_0 ? 8 : 4;
    ivec dots[6 * 4 * PANEL_VECS];

    UNROLLED
    for (int r = 0; r < rows; r++) {
        const ivec first = ivec_set(start_of(at, r, dtype, half));
        UNROLLED
        for (int i = 0; i < width; i++)
            dots[r * width + i] = first;
    }

    UNROLLED
    for (int g = 0; g < groups; g++) {
        UNROLLED
        for (int i = 0; i < width; i++)
            dot_group(at, g, i, rows, width, dtype, half, dots);
    }

    UNROLLED
    for (int i = 0; i < width; i++) {
        vec minimum;
        const vec scale = scale_of(at, i, dtype, half, &minimum);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            const float x_scale = at->scales[r * at->blocks];
            const int32_t *x_sums = at->sums + r * 2 * at->blocks;
            vec *sum = &sums[r * width + i];
            *sum =
                vec_fma(ivec_to_float(dots[r * width + i]), vec_mul(scale, vec_set(x_scale)), *sum);
            if (dtype == DTYPE_Q4_K)
                *sum = vec_fma(minimum, vec_set(-(x_scale * (float)(x_sums[0] + x_sums[1]))), *sum);
        }
    }
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
        add_block(&at, rows, width, dtype, 0, sums);
        if (dtype == DTYPE_Q6_K)
            add_block(&at, rows, width, dtype, 1, sums);
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
    ONE(rows, panels, Q8_0) ONE(rows, panels, Q4_0) ONE(rows, panels, Q4_K) ONE(rows, panels, Q6_K)
#define ENTRY(rows, panels)                                                                        \
    {                                                                                              \
        Q8_0_##rows##x##panels, Q4_0_##rows##x##panels, Q4_K_##rows##x##panels,                    \
            Q6_K_##rows##x##panels                                                                 \
    }
enum { NUM_TYPES = 4 };

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
