/*
 * e4m3.h - float to and from FP8 E4M3 (the "fn" form), one value at a time, in plain C
 *
 * Sign, four bits of exponent with bias 7, three of mantissa. No infinity; all ones is NaN; the
 * largest is 448, the smallest 2^-9. Encoding goes to the nearest, ties to even, and what is finite
 * and larger than 448 becomes 448; infinity and NaN become NaN.
 *
 * Written without branches, so that a loop over an array may become vectors.
 */
#ifndef BASE_E4M3_H
#define BASE_E4M3_H

#include "base/half.h"

#define E4M3_MAX 448.0f

static inline uint8_t e4m3_encode(float value)
{
    const uint32_t bits = float_to_bits(value), exact = bits & 0x7fffffff;
    const uint32_t magnitude = exact < 0x43e00000 ? exact : 0x43e00000; /* 448 */
    const uint32_t rounded = (magnitude + 0x7ffff + (magnitude >> 20 & 1)) >> 20;
    /* Below 2^-6 steps are 2^-9: adding 2^14 leaves their number in the mantissa. */
    const uint32_t steps = float_to_bits(float_from_bits(magnitude) + 0x1p14f) - 0x46800000;
    const uint32_t finite = magnitude < 0x3c800000 ? steps : rounded - (127 - 7) * 8;
    return (uint8_t)((bits >> 24 & 0x80) | (exact >= 0x7f800000 ? 0x7f : finite));
}

static inline float e4m3_decode(uint8_t code)
{
    const uint32_t sign = (uint32_t)(code & 0x80) << 24, magnitude = code & 0x7f;
    const uint32_t small = float_to_bits((float)magnitude * 0x1p-9f);
    const uint32_t normal = (magnitude + (127 - 7) * 8) << 20;
    const uint32_t finite = magnitude < 8 ? small : normal;
    return float_from_bits(sign | (magnitude == 0x7f ? 0x7fc00000 : finite));
}

#endif
