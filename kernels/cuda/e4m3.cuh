/*
 * e4m3.cuh - FP8 E4M3 to and from other numbers, as base/e4m3.h has it
 *
 * Sign, four bits of exponent with bias 7, three of mantissa; no infinity, all ones is NaN. What is
 * too large becomes 448, what is not finite NaN.
 */
#ifndef KERNELS_CUDA_E4M3_CUH
#define KERNELS_CUDA_E4M3_CUH

#include "kernels/cuda/device.cuh"

DEVICE float e4m3_to_float(unsigned code)
{
    const uint32_t sign = (code & 0x80u) << 24, magnitude = code & 0x7fu;
    const uint32_t small = float_bits((float)magnitude * 0.001953125f); /* steps of 2^-9 */
    const uint32_t finite = magnitude < 8 ? small : (magnitude + (127 - 7) * 8) << 20;
    return bits_float(sign | (magnitude == 0x7f ? 0x7fc00000u : finite));
}

DEVICE unsigned char e4m3_of(float value)
{
    const uint32_t bits = float_bits(value), exact = bits & 0x7fffffffu;
    const uint32_t magnitude = exact < 0x43e00000u ? exact : 0x43e00000u; /* 448 */
    const uint32_t rounded = (magnitude + 0x7ffffu + (magnitude >> 20 & 1)) >> 20;
    /* Below 2^-6 steps are 2^-9: adding 2^14 leaves their number in the mantissa. */
    const uint32_t steps = float_bits(bits_float(magnitude) + 16384.0f) - 0x46800000u;
    const uint32_t finite = magnitude < 0x3c800000u ? steps : rounded - (127 - 7) * 8;
    return (unsigned char)((bits >> 24 & 0x80u) | (exact >= 0x7f800000u ? 0x7fu : finite));
}

/* Two codes, the first in the low byte; of what is finite or NaN. */
DEVICE uint32_t e4m3_pair_of(float low, float high)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return (uint32_t)e4m3_of(low) | (uint32_t)e4m3_of(high) << 8;
#endif
}

/* Two codes, the first in the low byte, as two numbers of f16, exactly. */
DEVICE uint32_t e4m3_pair(uint32_t codes)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    uint32_t pair;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"((uint16_t)codes));
    return pair;
#else
    return pack_f16(e4m3_to_float(codes & 255u), e4m3_to_float(codes >> 8 & 255u));
#endif
}

#endif
