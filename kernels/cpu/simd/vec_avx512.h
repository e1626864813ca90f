/*
 * vec_avx512.h - what vec.h promises, in AVX-512 (F, BW, VL, DQ): sixteen lanes
 */
#ifndef KERNELS_CPU_SIMD_VEC_AVX512_H
#define KERNELS_CPU_SIMD_VEC_AVX512_H

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

/* a 2^n, n whole within [-126, 128]. */
static ALWAYS_INLINE vec vec_scale(vec a, vec n)
{
    return _mm512_scalef_ps(a, n);
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

#endif
