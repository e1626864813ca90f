/*
 * ints_avx2.h - what ints.h promises, in AVX2
 */
#ifndef KERNELS_CPU_SIMD_INTS_AVX2_H
#define KERNELS_CPU_SIMD_INTS_AVX2_H

typedef __m256i ivec;

static ALWAYS_INLINE ivec ivec_set(int32_t value)
{
    return _mm256_set1_epi32(value);
}

static ALWAYS_INLINE ivec ivec_load(const unsigned char *from)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static ALWAYS_INLINE void ivec_store(unsigned char *to, ivec a)
{
    _mm256_storeu_si256((__m256i *)(void *)to, a);
}

static ALWAYS_INLINE ivec ivec_less(ivec a, const int value)
{
    return value == 0 ? a : _mm256_sub_epi8(a, _mm256_set1_epi8((char)value));
}

static ALWAYS_INLINE ivec ivec_bits(ivec a, const int right, const int mask)
{
    const ivec moved = right >= 0 ? _mm256_srli_epi16(a, right) : _mm256_slli_epi16(a, -right);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)mask));
}

static ALWAYS_INLINE vec ivec_load_nibbles(const unsigned char *from, const int right)
{
    const __m256i words =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
    return _mm256_cvtepi32_ps(
        _mm256_and_si256(_mm256_srli_epi32(words, right), _mm256_set1_epi32(15)));
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

static ALWAYS_INLINE vec nibble(ivec words, const int i)
{
    const ivec low = _mm256_and_si256(_mm256_srli_epi32(words, 4 * i), _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(low);
}

static ALWAYS_INLINE void bytes_of(ivec pairs, const int i, const enum dtype dtype, vec out[2])
{
    const ivec high = i == 0 ? _mm256_slli_epi16(pairs, 8) : pairs;
    if (dtype == DTYPE_F8_E4M3) {
        const ivec halves =
            _mm256_and_si256(_mm256_srai_epi16(high, 1), _mm256_set1_epi16((short)0xbf80));
        out[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
        out[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
        return;
    }
    const ivec words = _mm256_srai_epi16(high, 8);
    out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(words)));
    out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1)));
}

#endif
