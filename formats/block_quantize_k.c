/* K-quants: a search for each sub-block's scale, then all scales of a block rounded together. */
#include "formats/block_quantize.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

enum { ELEMENTS = 256, MAX_SUBS = 16, MAX_SUB = 32, LANES = 8 };

/* x is about scale q - minimum. */
struct fit {
    float scale, minimum;
};

/* To the nearest whole number, for magnitudes below 2^22. */
static inline float nearest(float x)
{
    return x + 12582912.0f - 12582912.0f;
}

static inline float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static float add_lanes(const float *lanes)
{
    return lanes[0] + lanes[1] + (lanes[2] + lanes[3]) +
           (lanes[4] + lanes[5] + (lanes[6] + lanes[7]));
}

/* Sums over a sub-block that least squares takes. */
struct sums {
    float q, qq, qx;
};

static struct sums sum_up(const float *q, const float *x, int num)
{
    float lanes_q[LANES] = { 0 }, lanes_qq[LANES] = { 0 }, lanes_qx[LANES] = { 0 };
    for (int j = 0; j < num; j += LANES)
        for (int l = 0; l < LANES; l++) {
            lanes_q[l] += q[j + l];
            lanes_qq[l] += q[j + l] * q[j + l];
            lanes_qx[l] += q[j + l] * x[j + l];
        }
    return (struct sums){ add_lanes(lanes_q), add_lanes(lanes_qq), add_lanes(lanes_qx) };
}

/* The integers that are nearest under a fit, of which 0 to `most`, or from `least` on. */
static void round_all(const float *x, int num, struct fit fit, float least, float most, float *q)
{
    const float inverse = fit.scale != 0.0f ? 1.0f / fit.scale : 0.0f;
    const float factor = isfinite(inverse) ? inverse : 0.0f;
    for (int j = 0; j < num; j++)
        q[j] = nearest(clamp((x[j] + fit.minimum) * factor, least, most));
}

static float square_error(const float *x, const float *q, int num, struct fit fit)
{
    float lanes[LANES] = { 0 };
    for (int j = 0; j < num; j += LANES)
        for (int l = 0; l < LANES; l++) {
            const float off = fit.scale * q[j + l] - fit.minimum - x[j + l];
            lanes[l] += off * off;
        }
    return add_lanes(lanes);
}

/* The best line through (q, x) whose minimum is not negative. */
static struct fit fit_line(const float *q, const float *x, float sum_x, int num)
{
    const struct sums s = sum_up(q, x, num);
    const float n = (float)num, spread = n * s.qq - s.q * s.q;
    if (spread <= 0.0f)
        return (struct fit){ 0.0f, sum_x < 0.0f ? -sum_x / n : 0.0f };
    const float scale = (n * s.qx - s.q * sum_x) / spread;
    const float minimum = (scale * s.q - sum_x) / n;
    if (minimum >= 0.0f && scale >= 0.0f)
        return (struct fit){ scale, minimum };
    return (struct fit){ s.qq > 0.0f && s.qx > 0.0f ? s.qx / s.qq : 0.0f, 0.0f };
}

enum { STEPS = 10 }; /* on each side, a tenth of an integer wide */

/* Scale and minimum of a sub-block of integers 0 to `most`. */
static struct fit search_line(const float *x, int num, float most)
{
    float low = 0.0f, high = 0.0f, sum_x = 0.0f, q[MAX_SUB];
    for (int j = 0; j < num; j++) {
        low = fminf(low, x[j]);
        high = fmaxf(high, x[j]);
        sum_x += x[j];
    }
    struct fit best = { (high - low) / most, -low };
    round_all(x, num, best, 0.0f, most, q);
    float least = square_error(x, q, num, best);
    for (int i = -STEPS; i <= STEPS && high > low; i++) {
        const struct fit trial = { (high - low) / (most + 0.1f * (float)i), -low };
        round_all(x, num, trial, 0.0f, most, q);
        const struct fit fit = fit_line(q, x, sum_x, num);
        round_all(x, num, fit, 0.0f, most, q);
        const float error = square_error(x, q, num, fit);
        if (error < least) {
            least = error;
            best = fit;
        }
    }
    return best;
}

/* The value of the largest magnitude, with its sign. */
static float find_extreme(const float *x, int num)
{
    float extreme = 0.0f;
    for (int j = 0; j < num; j++)
        if (fabsf(x[j]) > fabsf(extreme))
            extreme = x[j];
    return extreme;
}

/* Scale of a sub-block of integers -half to half - 1. */
static float search_scale(const float *x, int num, float half)
{
    const float extreme = find_extreme(x, num);
    float q[MAX_SUB], best = extreme / -half, least = INFINITY;
    for (int i = -STEPS; i <= STEPS && extreme != 0.0f; i++) {
        const struct fit trial = { extreme / -(half + 0.1f * (float)i), 0.0f };
        round_all(x, num, trial, -half, half - 1.0f, q);
        const struct sums s = sum_up(q, x, num);
        const struct fit fit = { s.qq > 0.0f ? s.qx / s.qq : trial.scale, 0.0f };
        round_all(x, num, fit, -half, half - 1.0f, q);
        const float error = square_error(x, q, num, fit);
        if (error < least) {
            least = error;
            best = fit.scale;
        }
    }
    return best;
}

/* What a block is before it is packed. */
struct block {
    uint16_t d, dmin;                       /* halves */
    int scales[MAX_SUBS], minima[MAX_SUBS]; /* integers, of each sub-block */
    int q[ELEMENTS];
};

static float error_of(const float *x, int num, struct fit fit, float least, float most, float *q)
{
    round_all(x, num, fit, least, most, q);
    return square_error(x, q, num, fit);
}

/* Sub-scale and sub-minimum are one of two integers each: those that fit best, and the integers
 * under them. */
static void settle_line(const float *x, int num, float most, int range, struct block *block,
                        int sub, struct fit wanted)
{
    const float d = half_from_f16(block->d), dmin = half_from_f16(block->dmin);
    const int scale = d > 0.0f ? (int)clamp(wanted.scale / d, 0.0f, (float)range) : 0;
    const int minimum = dmin > 0.0f ? (int)clamp(wanted.minimum / dmin, 0.0f, (float)range) : 0;
    float q[MAX_SUB] = { 0 }, least = square_error(x, q, num, (struct fit){ 0 });
    block->scales[sub] = block->minima[sub] = 0;
    memset(block->q + sub * num, 0, (size_t)num * sizeof(int));
    for (int s = scale; s <= scale + 1 && s <= range; s++)
        for (int m = minimum; m <= minimum + 1 && m <= range; m++) {
            const struct fit fit = { d * (float)s, dmin * (float)m };
            const float error = error_of(x, num, fit, 0.0f, most, q);
            if (error < least) {
                least = error;
                block->scales[sub] = s;
                block->minima[sub] = m;
                for (int j = 0; j < num; j++)
                    block->q[sub * num + j] = (int)q[j];
            }
        }
}

/* Sub-blocks of `num` elements, integers 0 to `most`, sub-scales and sub-minima 0 to `range`. */
static void make_lines(const float *x, int num, float most, int range, struct block *block)
{
    struct fit fits[MAX_SUBS];
    float scale = 0.0f, minimum = 0.0f;
    for (int sub = 0; sub < ELEMENTS / num; sub++) {
        fits[sub] = search_line(x + sub * num, num, most);
        scale = fmaxf(scale, fits[sub].scale);
        minimum = fmaxf(minimum, fits[sub].minimum);
    }
    block->d = half_to_f16(scale / (float)range);
    block->dmin = half_to_f16(minimum / (float)range);
    for (int sub = 0; sub < ELEMENTS / num; sub++)
        settle_line(x + sub * num, num, most, range, block, sub, fits[sub]);
}

static void settle_scale(const float *x, int num, float half, int range, struct block *block,
                         int sub, float wanted)
{
    const float d = half_from_f16(block->d);
    const float low = (float)-range, high = (float)(range - 1);
    const int scale = d != 0.0f ? (int)floorf(clamp(wanted / d, low, high)) : 0;
    float least = INFINITY, q[MAX_SUB];
    for (int s = scale; s <= scale + 1 && s < range; s++) {
        const struct fit fit = { d * (float)s, 0.0f };
        const float error = error_of(x, num, fit, -half, half - 1.0f, q);
        if (error < least) {
            least = error;
            block->scales[sub] = s;
            for (int j = 0; j < num; j++)
                block->q[sub * num + j] = (int)q[j] + (int)half;
        }
    }
}

/* Sub-blocks of 16, integers -half to half - 1 (kept from 0 on), sub-scales -range to range - 1. */
static void make_scales(const float *x, float half, int range, struct block *block)
{
    enum { NUM = 16 };
    float scales[MAX_SUBS];
    for (int sub = 0; sub < ELEMENTS / NUM; sub++)
        scales[sub] = search_scale(x + sub * NUM, NUM, half);
    block->d = half_to_f16(find_extreme(scales, ELEMENTS / NUM) / (float)-range);
    for (int sub = 0; sub < ELEMENTS / NUM; sub++)
        settle_scale(x + sub * NUM, NUM, half, range, block, sub, scales[sub]);
}

/* --- packing ------------------------------------------------------------------------------- */

static void put(unsigned char *at, int bits)
{
    *at = (unsigned char)(*at | bits);
}

static void put_u16(unsigned char *at, uint16_t value)
{
    at[0] = (unsigned char)(value & 255);
    at[1] = (unsigned char)(value >> 8);
}

/* Six bits each in 12 bytes. */
static void put_pairs(const struct block *block, unsigned char *s)
{
    for (int j = 0; j < 8; j++) {
        const int scale = block->scales[j], minimum = block->minima[j];
        put(&s[j < 4 ? j : j + 4], j < 4 ? scale : scale & 15);
        put(&s[j + 4], j < 4 ? minimum : minimum << 4 & 240);
        if (j >= 4) {
            put(&s[j - 4], scale >> 4 << 6);
            put(&s[j], minimum >> 4 << 6);
        }
    }
}

static void put_nibbles(const int *q, unsigned char *to)
{
    for (int e = 0; e < ELEMENTS; e++)
        put(&to[e / 64 * 32 + e % 32], (q[e] & 15) << e / 32 % 2 * 4);
}

void block_quantize_q4_k(const float *x, unsigned char *to)
{
    struct block block;
    make_lines(x, 32, 15.0f, 63, &block);
    memset(to, 0, 144);
    put_u16(to, block.d);
    put_u16(to + 2, block.dmin);
    put_pairs(&block, to + 4);
    put_nibbles(block.q, to + 16);
}

void block_quantize_q5_k(const float *x, unsigned char *to)
{
    struct block block;
    make_lines(x, 32, 31.0f, 63, &block);
    memset(to, 0, 176);
    put_u16(to, block.d);
    put_u16(to + 2, block.dmin);
    put_pairs(&block, to + 4);
    put_nibbles(block.q, to + 48);
    for (int e = 0; e < ELEMENTS; e++)
        put(&to[16 + e % 32], block.q[e] >> 4 << e / 32);
}

void block_quantize_q2_k(const float *x, unsigned char *to)
{
    struct block block;
    make_lines(x, 16, 3.0f, 15, &block);
    memset(to, 0, 84);
    for (int sub = 0; sub < 16; sub++)
        to[sub] = (unsigned char)(block.scales[sub] | block.minima[sub] << 4);
    for (int e = 0; e < ELEMENTS; e++)
        put(&to[16 + e / 128 * 32 + e % 32], block.q[e] << e % 128 / 32 * 2);
    put_u16(to + 80, block.d);
    put_u16(to + 82, block.dmin);
}

void block_quantize_q3_k(const float *x, unsigned char *to)
{
    struct block block;
    make_scales(x, 4.0f, 32, &block);
    memset(to, 0, 110);
    for (int e = 0; e < ELEMENTS; e++) {
        put(&to[e % 32], block.q[e] >> 2 << e / 32);
        put(&to[32 + e / 128 * 32 + e % 32], (block.q[e] & 3) << e % 128 / 32 * 2);
    }
    for (int sub = 0; sub < 16; sub++) {
        const int scale = block.scales[sub] + 32;
        put(&to[96 + sub % 8], (scale & 15) << sub / 8 * 4);
        put(&to[104 + sub % 4], scale >> 4 << sub / 4 * 2);
    }
    put_u16(to + 108, block.d);
}

void block_quantize_q6_k(const float *x, unsigned char *to)
{
    struct block block;
    make_scales(x, 32.0f, 128, &block);
    memset(to, 0, 210);
    for (int e = 0; e < ELEMENTS; e++) {
        const int half = e / 128, part = e % 128 / 32, l = e % 32, q = block.q[e];
        put(&to[64 * half + 32 * (part % 2) + l], (q & 15) << part / 2 * 4);
        put(&to[128 + 32 * half + l], q >> 4 << 2 * part);
    }
    for (int sub = 0; sub < 16; sub++)
        to[192 + sub] = (unsigned char)(block.scales[sub] & 255);
    put_u16(to + 208, block.d);
}
