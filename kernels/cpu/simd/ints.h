/*
 * ints.h - vectors of bytes and whole numbers, as many lanes as vec.h has floats
 *
 * A lane of 32 bits holds four inputs of one output. ivec_dot() adds their products to a lane's
 * sum, w unsigned and at most 127, ivec_dot_128() those of w less 128: an instruction where there
 * is one, else pairs of 16 bits; the sums are exact, hence equal. Where ivec_dot_128() leaves the
 * 128 in, START_128 is what a sum has to begin with for each unit of x.
 */
#ifndef KERNELS_CPU_SIMD_INTS_H
#define KERNELS_CPU_SIMD_INTS_H

#include "kernels/cpu/simd/vec.h"

#if defined(__aarch64__)

#include "kernels/cpu/simd/ints_neon.h"

#elif defined(__AVX512F__)

#include "kernels/cpu/simd/ints_avx512.h"

#else

#include "kernels/cpu/simd/ints_avx2.h"

#endif

#endif
