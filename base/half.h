/*
 * half.h - float to and from 16-bit floats, one value at a time, in plain C
 *
 * Exact where the value is representable, else to the nearest, ties to even, as the processor's
 * own conversions do. Infinity stays, a NaN stays a (quiet) NaN.
 */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t float_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float half_from_bf16(uint16_t half)
{
    return float_from_bits((uint32_t)half << 16);
}

static inline float half_from_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = (half >> 10) & 31, mantissa = half & 1023;

    if (exponent == 0) /* zero or subnormal: mantissa * 2^-24 */
        return float_from_bits(float_to_bits((float)mantissa * 0x1p-24f) | sign);
    if (exponent == 31)
        return float_from_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000u : 0));
    return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t half_to_bf16(float value)
{
    const uint32_t bits = float_to_bits(value), odd = bits >> 16 & 1;
    const uint32_t rounded =
        (bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : bits + 0x7fff + odd;
    return (uint16_t)(rounded >> 16);
}

static inline uint16_t half_to_f16(float value)
{
    const uint32_t bits = float_to_bits(value);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;

    if (magnitude > 0x7f800000) /* NaN */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 2^-1 leaves the rounded mantissa low */
        const float sum = float_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(sum) - 0x3f000000));
    }
    const uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude + 0xfff + odd - 0x38000000) >> 13));
}

#endif
