/*
 * vec_avx2.h - what vec.h promises, in AVX2 with FMA and F16C: eight lanes
 */
#ifndef KERNELS_CPU_SIMD_VEC_AVX2_H
#define KERNELS_CPU_SIMD_VEC_AVX2_H

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

static ALWAYS_INLINE vec times_power(vec a, vec n)
{
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), bias), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(bits));
}

/* n reaches 128, whose power of two has no float: in two steps. */
static ALWAYS_INLINE vec vec_scale(vec a, vec n)
{
    const vec half = vec_round(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)));
    return times_power(times_power(a, half), _mm256_sub_ps(n, half));
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
