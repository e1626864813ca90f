#include "formats/block_quantize.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

static void write_u16(unsigned char *at, uint16_t value)
{
    at[0] = (unsigned char)(value & 255);
    at[1] = (unsigned char)(value >> 8);
}

static void write_f16(unsigned char *at, float value)
{
    write_u16(at, half_to_f16(value));
}

/* What a scale is divided by; 0 for a scale that is none. */
static float inverse_of(float scale)
{
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    return isfinite(inverse) ? inverse : 0.0f;
}

static void make_f32(const float *x, unsigned char *block)
{
    const uint32_t bits = float_to_bits(*x);
    write_u16(block, (uint16_t)(bits & 0xffff));
    write_u16(block + 2, (uint16_t)(bits >> 16));
}

static void make_f16(const float *x, unsigned char *block)
{
    write_f16(block, *x);
}

static void make_bf16(const float *x, unsigned char *block)
{
    write_u16(block, half_to_bf16(*x));
}

static void make_q8_0(const float *x, unsigned char *block)
{
    float largest = 0.0f;
    for (int j = 0; j < 32; j++)
        largest = fmaxf(largest, fabsf(x[j]));
    const float d = largest / 127.0f, inverse = inverse_of(d);
    write_f16(block, d);
    for (int j = 0; j < 32; j++)
        block[2 + j] = (unsigned char)(int8_t)roundf(x[j] * inverse);
}

/* The value of the largest magnitude, with its sign; the first of equals. */
static float find_extreme(const float *x)
{
    float extreme = x[0];
    for (int j = 1; j < 32; j++)
        if (fabsf(x[j]) > fabsf(extreme))
            extreme = x[j];
    return extreme;
}

/* x / d + half, towards zero, at most `most`. */
static int round_down(float x, float inverse, float half, int most)
{
    const int q = (int)(x * inverse + half);
    return q < most ? q : most;
}

static void make_q4_0(const float *x, unsigned char *block)
{
    const float d = find_extreme(x) / -8.0f, inverse = inverse_of(d);
    write_f16(block, d);
    for (int j = 0; j < 16; j++)
        block[2 + j] = (unsigned char)(round_down(x[j], inverse, 8.5f, 15) |
                                       round_down(x[j + 16], inverse, 8.5f, 15) << 4);
}

static void find_range(const float *x, float *low, float *high)
{
    *low = *high = x[0];
    for (int j = 1; j < 32; j++) {
        *low = fminf(*low, x[j]);
        *high = fmaxf(*high, x[j]);
    }
}

static void make_q4_1(const float *x, unsigned char *block)
{
    float low, high;
    find_range(x, &low, &high);
    const float d = (high - low) / 15.0f, inverse = inverse_of(d);
    write_f16(block, d);
    write_f16(block + 2, low);
    for (int j = 0; j < 16; j++)
        block[4 + j] = (unsigned char)(round_down(x[j] - low, inverse, 0.5f, 15) |
                                       round_down(x[j + 16] - low, inverse, 0.5f, 15) << 4);
}

/* 32 numbers of five bits: the fifth ones in front. */
static void write_5(const int *q, unsigned char *high, unsigned char *nibbles)
{
    memset(high, 0, 4);
    for (int e = 0; e < 32; e++)
        high[e / 8] = (unsigned char)(high[e / 8] | (q[e] >> 4) << e % 8);
    for (int j = 0; j < 16; j++)
        nibbles[j] = (unsigned char)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void make_q5_0(const float *x, unsigned char *block)
{
    const float d = find_extreme(x) / -16.0f, inverse = inverse_of(d);
    int q[32];
    write_f16(block, d);
    for (int e = 0; e < 32; e++)
        q[e] = round_down(x[e], inverse, 16.5f, 31);
    write_5(q, block + 2, block + 6);
}

static void make_q5_1(const float *x, unsigned char *block)
{
    float low, high;
    int q[32];
    find_range(x, &low, &high);
    const float d = (high - low) / 31.0f, inverse = inverse_of(d);
    write_f16(block, d);
    write_f16(block + 2, low);
    for (int e = 0; e < 32; e++)
        q[e] = round_down(x[e] - low, inverse, 0.5f, 31);
    write_5(q, block + 4, block + 8);
}

static void (*const makers[BLOCK_MAX_TYPES])(const float *x, unsigned char *block) = {
    [BLOCK_F32] = make_f32,
    [BLOCK_F16] = make_f16,
    [BLOCK_BF16] = make_bf16,
    [BLOCK_Q8_0] = make_q8_0,
    [BLOCK_Q4_0] = make_q4_0,
    [BLOCK_Q4_1] = make_q4_1,
    [BLOCK_Q5_0] = make_q5_0,
    [BLOCK_Q5_1] = make_q5_1,
    [BLOCK_Q2_K] = block_quantize_q2_k,
    [BLOCK_Q3_K] = block_quantize_q3_k,
    [BLOCK_Q4_K] = block_quantize_q4_k,
    [BLOCK_Q5_K] = block_quantize_q5_k,
    [BLOCK_Q6_K] = block_quantize_q6_k,
};

bool block_can_quantize(enum block_type type)
{
    return (unsigned)type < BLOCK_MAX_TYPES && makers[type] != NULL;
}

void block_quantize(enum block_type type, const float *from, void *to, size_t num_blocks)
{
    const struct block_info *info = block_info(type);
    unsigned char *bytes = to;
    for (size_t i = 0; i < num_blocks; i++)
        makers[type](from + i * (size_t)info->elements, bytes + i * (size_t)info->bytes);
}
