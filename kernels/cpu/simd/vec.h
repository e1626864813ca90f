/*
 * vec.h - vectors of float in the instruction set this file is compiled for
 *
 * The sources of this folder are compiled once per instruction set; the flags choose. Names
 * visible outside a file carry the set: SIMD(tile_run) is tile_run_avx512.
 *
 * vec_exp() is the one exponential of a set: in softmax, activations, soft caps, for whole and
 * partial vectors.
 */
#ifndef KERNELS_CPU_SIMD_VEC_H
#define KERNELS_CPU_SIMD_VEC_H

#include <stdint.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/weight.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

#if defined(__aarch64__)

#include "kernels/cpu/simd/vec_neon.h"

#elif defined(__AVX512F__)

#include <immintrin.h>

#define SIMD(name) name##_avx512
#define SIMD_NAME  "avx512"

typedef __m512 vec;

enum { VEC_LANES = 16 };

static ALWAYS_INLINE __mmask16 vec_mask(int32_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static ALWAYS_INLINE vec vec_set(float value)
{
    return _mm512_set1_ps(value);
}

static ALWAYS_INLINE vec vec_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static ALWAYS_INLINE void vec_store(float *to, vec a)
{
    _mm512_storeu_ps(to, a);
}

/* The first n lanes; the others load as 0 and are not touched in memory. */
static ALWAYS_INLINE vec vec_load_part(const float *from, int32_t n)
{
    return _mm512_maskz_loadu_ps(vec_mask(n), from);
}

static ALWAYS_INLINE void vec_store_part(float *to, vec a, int32_t n)
{
    _mm512_mask_storeu_ps(to, vec_mask(n), a);
}

/* The first n lanes of a (n <= 0: none, n >= VEC_LANES: all), the others of b. */
static ALWAYS_INLINE vec vec_select(int32_t n, vec a, vec b)
{
    return n >= VEC_LANES ? a : n <= 0 ? b : _mm512_mask_blend_ps(vec_mask(n), b, a);
}

static ALWAYS_INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static ALWAYS_INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static ALWAYS_INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static ALWAYS_INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* b where either is NaN. */
static ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

/* a b + c, rounded once. */
static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static ALWAYS_INLINE vec vec_round(vec a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* a 2^n, n whole within [-126, 127]. */
static ALWAYS_INLINE vec vec_scale(vec a, vec n)
{
    const __m512i bias = _mm512_set1_epi32(127);
    const __m512i bits = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), bias), 23);
    return _mm512_mul_ps(a, _mm512_castsi512_ps(bits));
}

/* 0 where a < b (false for NaN), else c. */
static ALWAYS_INLINE vec vec_zero_below(vec a, vec b, vec c)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), c);
}

/* `yes` where a < b, else (also for NaN) `no`. */
static ALWAYS_INLINE vec vec_below(vec a, vec b, vec yes, vec no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

static ALWAYS_INLINE float vec_sum(vec a)
{
    return _mm512_reduce_add_ps(a);
}

static ALWAYS_INLINE float vec_largest(vec a)
{
    return _mm512_reduce_max_ps(a);
}

static ALWAYS_INLINE vec vec_load_f16(const uint16_t *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)from));
}

/* The first n, 0 <= n <= VEC_LANES; 0 behind. */
static ALWAYS_INLINE vec vec_load_f16_part(const uint16_t *from, int32_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vec_mask(n), from));
}

static ALWAYS_INLINE void vec_store_f16(uint16_t *to, vec a)
{
    _mm256_storeu_si256((__m256i *)(void *)to,
                        _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* One f16 in all lanes. */
static ALWAYS_INLINE vec vec_set_f16(const uint16_t *from)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)*from));
}

static ALWAYS_INLINE vec vec_load_bf16(const uint16_t *from)
{
    const __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* 16 bytes of E4M3 (e4m3.h): moved, its bits are an f16 of a 256th. */
static ALWAYS_INLINE vec vec_load_e4m3(const unsigned char *from)
{
    const __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)from);
    const __m128i last = _mm_set1_epi8(0x7f);
    const __m256i moved = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7),
                                           _mm256_set1_epi16((short)0xbf80));
    const vec value = _mm512_mul_ps(_mm512_cvtph_ps(moved), _mm512_set1_ps(256.0f));
    const __mmask16 is_nan = _mm_cmpeq_epi8_mask(_mm_and_si128(codes, last), last);
    return _mm512_mask_blend_ps(is_nan, value, _mm512_set1_ps(__builtin_nanf("")));
}

/* 16 bytes as whole numbers. */
static ALWAYS_INLINE vec vec_load_u8(const unsigned char *from)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

static ALWAYS_INLINE vec vec_load_s8(const unsigned char *from)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

/* Whole numbers of at most 127 as bytes. */
static ALWAYS_INLINE void vec_store_i8(int8_t *to, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}

/* 32 bf16 in the order of weight.h. */
static ALWAYS_INLINE void vec_load_bf16_panel(const uint16_t *from, vec out[2])
{
    const __m512i pairs = _mm512_loadu_si512(from);
    out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    out[1] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

/* Lane j of row i becomes lane i of row j. */
static ALWAYS_INLINE void vec_transpose(vec r[16])
{
    vec t[16];
    UNROLLED
    for (int i = 0; i < 16; i += 2) { /* pairs of rows */
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    UNROLLED
    for (int i = 0; i < 16; i += 4) { /* columns of four rows, within 128 bits */
        r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    UNROLLED
    for (int i = 0; i < 4; i++) { /* quarters of columns i, i + 4, i + 8, i + 12 */
        const vec a = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        const vec b = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        const vec c = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        const vec d = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
        t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        t[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        t[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
    UNROLLED
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

#else /* AVX2 with FMA and F16C */

#include <immintrin.h>

#define SIMD(name) name##_avx2
#define SIMD_NAME  "avx2"

typedef __m256 vec;

enum { VEC_LANES = 8 };

static ALWAYS_INLINE __m256i vec_mask(int32_t n)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
}

static ALWAYS_INLINE vec vec_set(float value)
{
    return _mm256_set1_ps(value);
}

static ALWAYS_INLINE vec vec_load(const float *from)
{
    return _mm256_loadu_ps(from);
}

static ALWAYS_INLINE void vec_store(float *to, vec a)
{
    _mm256_storeu_ps(to, a);
}

static ALWAYS_INLINE vec vec_load_part(const float *from, int32_t n)
{
    return _mm256_maskload_ps(from, vec_mask(n));
}

static ALWAYS_INLINE void vec_store_part(float *to, vec a, int32_t n)
{
    _mm256_maskstore_ps(to, vec_mask(n), a);
}

static ALWAYS_INLINE vec vec_select(int32_t n, vec a, vec b)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(vec_mask(n)));
}

static ALWAYS_INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static ALWAYS_INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static ALWAYS_INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static ALWAYS_INLINE vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static ALWAYS_INLINE vec vec_round(vec a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static ALWAYS_INLINE vec vec_scale(vec a, vec n)
{
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), bias), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(bits));
}

static ALWAYS_INLINE vec vec_zero_below(vec a, vec b, vec c)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ), c);
}

static ALWAYS_INLINE vec vec_below(vec a, vec b, vec yes, vec no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

static ALWAYS_INLINE float vec_sum(vec a)
{
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

static ALWAYS_INLINE float vec_largest(vec a)
{
    const __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}

static ALWAYS_INLINE vec vec_load_f16(const uint16_t *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)from));
}

static ALWAYS_INLINE vec vec_load_f16_part(const uint16_t *from, int32_t n)
{
    uint16_t halves[8] = { 0 };
    memcpy(halves, from, (size_t)n * sizeof(halves[0]));
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)halves));
}

static ALWAYS_INLINE void vec_store_f16(uint16_t *to, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)to,
                     _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static ALWAYS_INLINE vec vec_set_f16(const uint16_t *from)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)*from));
}

static ALWAYS_INLINE vec vec_load_bf16(const uint16_t *from)
{
    const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)from);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

static ALWAYS_INLINE vec vec_load_e4m3(const unsigned char *from)
{
    const __m128i codes = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)from));
    const __m128i moved = _mm_and_si128(_mm_slli_epi16(codes, 7), _mm_set1_epi16((short)0xbf80));
    const vec value = _mm256_mul_ps(_mm256_cvtph_ps(moved), _mm256_set1_ps(256.0f));
    const vec magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), value);
    const vec is_nan = _mm256_cmp_ps(magnitude, _mm256_set1_ps(480.0f), _CMP_EQ_OQ);
    return _mm256_blendv_ps(value, _mm256_set1_ps(__builtin_nanf("")), is_nan);
}

static ALWAYS_INLINE vec vec_load_u8(const unsigned char *from)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)from);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

static ALWAYS_INLINE vec vec_load_s8(const unsigned char *from)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)from);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

static ALWAYS_INLINE void vec_store_i8(int8_t *to, vec a)
{
    const __m256i whole = _mm256_cvtps_epi32(a);
    const __m128i pairs =
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i *)(void *)to, _mm_packs_epi16(pairs, pairs));
}

static ALWAYS_INLINE void vec_load_bf16_panel(const uint16_t *from, vec out[4])
{
    const __m256i high = _mm256_set1_epi32((int)0xffff0000);
    UNROLLED
    for (int i = 0; i < 2; i++) {
        const __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)(from + 16 * i));
        out[i] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
        out[i + 2] = _mm256_castsi256_ps(_mm256_and_si256(pairs, high));
    }
}

/* Lane j of row i becomes lane i of row j. */
static ALWAYS_INLINE void vec_transpose(vec r[8])
{
    vec t[8];
    UNROLLED
    for (int i = 0; i < 8; i += 2) { /* pairs of rows */
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    UNROLLED
    for (int i = 0; i < 8; i += 4) { /* columns of four rows, within 128 bits */
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    UNROLLED
    for (int i = 0; i < 4; i++) { /* halves of columns i and i + 4 */
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    UNROLLED
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

#endif

enum { PANEL_VECS = PANEL_ROWS / VEC_LANES };

/* 32 weights of one column in the order of rows. */
static ALWAYS_INLINE void vec_load_panel(enum dtype dtype, const void *panel, int64_t index,
                                         vec out[PANEL_VECS])
{
    const uint16_t *halves = (const uint16_t *)panel + index;
    const float *floats = (const float *)panel + index;

    if (dtype == DTYPE_BF16) {
        vec_load_bf16_panel(halves, out);
        return;
    }
    UNROLLED
    for (int i = 0; i < PANEL_VECS; i++)
        out[i] = dtype == DTYPE_F16 ? vec_load_f16(halves + i * VEC_LANES)
                                    : vec_load(floats + i * VEC_LANES);
}

/*
 * e^a to within 1.5 ulp: a = n ln 2 + r, |r| <= ln 2 / 2, the series to r^7, times 2^n
 * in two steps. Below -87 it is 0, e^0 is exactly 1, NaN stays NaN.
 */
static ALWAYS_INLINE vec vec_exp(vec a)
{
    const vec low = vec_set(-87.0f);
    /* The bound comes first, so that a NaN passes through. */
    const vec x = vec_max(low, vec_min(vec_set(88.8f), a));
    const vec n = vec_round(vec_mul(x, vec_set(0x1.715476p+0f)));
    const vec r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), vec_fma(n, vec_set(-0x1.62e400p-1f), x));

    vec p = vec_set(0x1.a01a02p-13f); /* 1 / 7! */
    p = vec_fma(p, r, vec_set(0x1.6c16c2p-10f));
    p = vec_fma(p, r, vec_set(0x1.111112p-7f));
    p = vec_fma(p, r, vec_set(0x1.555556p-5f));
    p = vec_fma(p, r, vec_set(0x1.555556p-3f));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1.0f));
    p = vec_fma(p, r, vec_set(1.0f));

    /* n reaches 128, whose power of two has no float: halve it. */
    const vec half = vec_round(vec_mul(n, vec_set(0.5f)));
    return vec_zero_below(a, low, vec_scale(vec_scale(p, half), vec_sub(n, half)));
}

/* Within 2e-7 of the value: near 0 y + y z P(z) with z = y^2 (least squares, |y| <= 5 / 8), else
 * by the exponential. */
static ALWAYS_INLINE vec vec_tanh(vec y)
{
    const vec one = vec_set(1.0f), z = vec_mul(y, y);
    vec p = vec_set(-0x1.68839ep-8f);
    p = vec_fma(p, z, vec_set(0x1.4f1fd8p-6f));
    p = vec_fma(p, z, vec_set(-0x1.b7c43cp-5f));
    p = vec_fma(p, z, vec_set(0x1.110382p-3f));
    p = vec_fma(p, z, vec_set(-0x1.555522p-2f));
    const vec near = vec_fma(vec_mul(p, z), y, y);
    const vec e = vec_exp(vec_add(y, y));
    const vec far = vec_sub(one, vec_div(vec_set(2.0f), vec_add(e, one)));
    return vec_below(z, vec_set(0x1.9p-2f), near, far);
}

static ALWAYS_INLINE vec vec_soft_cap(vec a, float cap)
{
    const vec c = vec_set(cap);
    return vec_mul(c, vec_tanh(vec_div(a, c)));
}

#endif
