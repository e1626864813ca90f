/*
 * ints_avx512.h - what ints.h promises, in AVX-512, with VNNI where that is compiled for
 */
#ifndef KERNELS_CPU_SIMD_INTS_AVX512_H
#define KERNELS_CPU_SIMD_INTS_AVX512_H

typedef __m512i ivec;

static ALWAYS_INLINE ivec ivec_set(int32_t value)
{
    return _mm512_set1_epi32(value);
}

static ALWAYS_INLINE ivec ivec_load(const unsigned char *from)
{
    return _mm512_loadu_si512(from);
}

static ALWAYS_INLINE void ivec_store(unsigned char *to, ivec a)
{
    _mm512_storeu_si512(to, a);
}

/* Of each byte `value` less. */
static ALWAYS_INLINE ivec ivec_less(ivec a, const int value)
{
    return value == 0 ? a : _mm512_sub_epi8(a, _mm512_set1_epi8((char)value));
}

/* Of each byte, moved to the right (less than 0: to the left), the bits of `mask`. */
static ALWAYS_INLINE ivec ivec_bits(ivec a, const int right, const int mask)
{
    const ivec moved =
        right >= 0 ? _mm512_srli_epi16(a, (unsigned)right) : _mm512_slli_epi16(a, (unsigned)-right);
    return _mm512_and_si512(moved, _mm512_set1_epi8((char)mask));
}

/* The four low, or high, bits of bytes as floats. */
static ALWAYS_INLINE vec ivec_load_nibbles(const unsigned char *from, const int right)
{
    const __m512i words =
        _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
    return _mm512_cvtepi32_ps(
        _mm512_and_si512(_mm512_srli_epi32(words, (unsigned)right), _mm512_set1_epi32(15)));
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

/* The four bits from bit 4 i on: the table looks at no others. */
static ALWAYS_INLINE vec nibble(ivec words, const int i)
{
    const vec table = _mm512_setr_ps(0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f, 8.0f, 9.0f,
                                     10.0f, 11.0f, 12.0f, 13.0f, 14.0f, 15.0f);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(words, (unsigned)(4 * i)), table);
}

/* Byte `i` of each 16 bits as two vectors: codes of E4M3 times 2^-8, or signed. */
static ALWAYS_INLINE void bytes_of(ivec pairs, const int i, const enum dtype dtype, vec out[2])
{
    const ivec high = i == 0 ? _mm512_slli_epi16(pairs, 8) : pairs;
    if (dtype == DTYPE_F8_E4M3) {
        const ivec halves =
            _mm512_and_si512(_mm512_srai_epi16(high, 1), _mm512_set1_epi16((short)0xbf80));
        out[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
        out[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
        return;
    }
    const ivec words = _mm512_srai_epi16(high, 8);
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm512_castsi512_si256(words)));
    out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(words, 1)));
}

#endif
