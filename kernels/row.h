/*
 * row.h - plain arithmetic over one row of floats, for sampling on the host
 *
 * Written so that compilers vectorize it, and so that each result is the same for every
 * compiler and instruction set: sums run in a fixed number of strands that are added in order.
 */
#ifndef KERNELS_ROW_H
#define KERNELS_ROW_H

#include <stdint.h>
#include <string.h>

enum { ROW_BLOCK = 512 };

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The greatest value; NaN when there is one; -INFINITY of none. */
float row_max(const float *values, int32_t num);

/* Of at most ROW_BLOCK values, and of any number: the sum of its blocks' sums, in order. */
double row_sum_block(const float *values, int32_t num);
double row_sum(const float *values, int32_t num);

/* to[i] = exp((from[i] - best) * scale) where no from[i] is above best: to 2e-7 of its value
 * down to 1e-30, and 0 from exp(-87) on. */
void row_exp(float *restrict to, const float *restrict from, int32_t num, float best, float scale);

#endif
