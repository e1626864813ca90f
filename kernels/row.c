#include "kernels/row.h"

#include <math.h>

enum { LANES = 8 };

float row_max(const float *values, int32_t num)
{
    float max[LANES], nan[LANES];
    for (int j = 0; j < LANES; j++) {
        max[j] = -INFINITY;
        nan[j] = 0.0f;
    }
    int32_t i = 0;
    for (; i + LANES <= num; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const float v = values[i + j];
            max[j] = v > max[j] ? v : max[j];
            nan[j] = v != v ? 1.0f : nan[j];
        }
    for (; i < num; i++) {
        max[0] = values[i] > max[0] ? values[i] : max[0];
        nan[0] = values[i] != values[i] ? 1.0f : nan[0];
    }
    for (int j = 1; j < LANES; j++) {
        max[0] = max[j] > max[0] ? max[j] : max[0];
        nan[0] += nan[j];
    }
    return nan[0] > 0.0f ? NAN : max[0];
}

double row_sum_block(const float *values, int32_t num)
{
    double sums[LANES] = { 0 };
    int32_t i = 0;
    for (; i + LANES <= num; i += LANES)
        for (int j = 0; j < LANES; j++)
            sums[j] += (double)values[i + j];
    double sum = 0.0;
    for (int j = 0; j < LANES; j++)
        sum += sums[j];
    for (; i < num; i++)
        sum += (double)values[i];
    return sum;
}

double row_sum(const float *values, int32_t num)
{
    double sum = 0.0;
    for (int32_t i = 0; i < num; i += ROW_BLOCK)
        sum += row_sum_block(values + i, num - i < ROW_BLOCK ? num - i : ROW_BLOCK);
    return sum;
}

/* exp(x) for x <= 0, to 2e-7 of its value down to 1e-30, and 0 from -87 on: in plain operations, so
 * that it gives the same bits everywhere. x = n ln 2 + r, then Taylor in |r| <= 0.35. Limits are
 * put on the bits: a compiler that minds floating-point traps does not vectorize a choice between
 * floats. */
static inline float exp_nonpositive(float x)
{
    const float shift = 0x1.8p23f; /* adding it rounds to an integer in the low bits */
    const int32_t size = (int32_t)(bits_of(x) & 0x7FFFFFFFU), most = 0x42AE0000; /* 87.0f */
    const float kept = -float_of((uint32_t)(size < most ? size : most));
    const float shifted = kept * 1.44269504f + shift;
    const float n = shifted - shift;
    const float r = (kept - n * 0.693359375f) - n * -2.12194440e-4f;
    float y = 1.0f / 5040;
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    /* 2^n: what lies above the 9 low bits of n falls out */
    const float scale = float_of((bits_of(shifted) << 23) + 0x3F800000U);
    const uint32_t value = bits_of(y * scale - 0x1.8p-126f); /* negative for exp(-87) alone */
    return float_of(value & ~(uint32_t)((int32_t)value >> 31));
}

void row_exp(float *restrict to, const float *restrict from, int32_t num, float best, float scale)
{
    for (int32_t i = 0; i < num; i++)
        to[i] = exp_nonpositive((from[i] - best) * scale);
}
