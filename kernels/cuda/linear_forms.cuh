/*
 * linear_forms.cuh - weights that are not plain, from memory into what tensor cores multiply
 *
 * A lane loads 16 bytes of whole numbers: for as many units of 32 inputs as UNITS says, its eight
 * inputs of rows g and g + 8. They become 16-bit numbers, exactly: bytes by way of f32, a code of
 * E4M3 by moving its bits and one product, nibbles and fewer bits by writing them into 128's
 * mantissa (lop3) and subtracting 128 and the zero point. Scales and minima are never multiplied
 * into them: sums of a unit come out of zero and are scaled once, in f32.
 *
 * What is loaded stays as memory has it until it is opened: a conversion behind a load would wait
 * for it, and so would all loads behind that one.
 *
 * A form is a class with
 *     UNITS               : units of a load
 *     HALVES              : the two halves of a unit have scales, and minima, of their own
 *     load(w, row, u)     : what a lane wants of units u .. u + UNITS - 1, from memory
 *     fetch(w, row, u)    : what load() will want, from memory to L2
 *     has_min(w)
 *     open(w, loaded, j)  : unit u + j of it
 *     x_byte(lane, j)     : where its first four inputs lie in shared memory (linear_side.cuh), from
 *                           unit j of two on; X_NEXT ^ that: its other four
 */
#ifndef KERNELS_CUDA_LINEAR_FORMS_CUH
#define KERNELS_CUDA_LINEAR_FORMS_CUH

#include "kernels/cuda/mma.cuh"

constexpr int X_UNIT_BYTES = 128 * 64; /* of 128 rows of x in shared memory */

/* Inputs of a unit that a lane has: two runs of four. */
struct runs {
    static DEVICE_MEMBER int x_first(int t, int)
    {
        return 4 * t;
    }
    static DEVICE_MEMBER int x_second(int t, int)
    {
        return 16 + 4 * t;
    }
    static constexpr int X_NEXT = 32;
    static DEVICE_MEMBER int x_byte(int lane, int)
    {
        const int g = lane / 4, t = lane & 3;
        return 64 * g + 16 * (t / 2 ^ (g & 2)) + 8 * (t & 1);
    }
};

/* One unit: A of both products, and what their sums are scaled by. [half][rows g, g + 8] */
struct opened {
    uint32_t first[4], second[4];
    float scale[2][2], min[2][2];
};

DEVICE int group_of(const struct matrix &w, int u)
{
    return w.unit_groups != nullptr ? w.unit_groups[u] : u >> w.group_shift;
}

/* Where the scale of a lane's row g and of unit u is; that of row g + 8 is 8 behind. */
DEVICE int64_t scale_index(const struct matrix &w, int64_t row, int u, int lane)
{
    return (row / 16 * w.num_groups + group_of(w, u)) * 16 + lane / 4;
}

/* A number as memory has it, and what it is. */
DEVICE uint32_t bits_of(const void *array, enum number number, int64_t i)
{
    return number == NUMBER_F32 ? ((const uint32_t *)array)[i] : ((const uint16_t *)array)[i];
}

DEVICE float number_of(uint32_t bits, enum number number)
{
    return number == NUMBER_F32   ? bits_float(bits)
           : number == NUMBER_F16 ? f16_to_float((uint16_t)bits)
                                  : bf16_to_float((uint16_t)bits);
}

DEVICE int64_t unit_index(const struct matrix &w, int64_t row, int u)
{
    return row / 16 * (w.stride / 32) + u;
}

/* Scales of 16 rows and a unit, with minima and zero points; not where a load has to say of which
 * group they are. */
DEVICE void fetch_factors(const struct matrix &w, int64_t row, int u, int lane)
{
    if (w.unit_groups != nullptr)
        return;
    const int64_t at = scale_index(w, row, u, 0) + (lane & 15);
    fetch_ahead((const unsigned char *)w.scales + at * (w.scale_number == NUMBER_F32 ? 4 : 2));
    if (w.mins != nullptr)
        fetch_ahead(w.mins + at);
    if (w.zeros != nullptr)
        fetch_ahead(w.zeros + at);
}

/* --- bytes: Q8_0, I8, E4M3 -------------------------------------------------------------------- */

/* Four signed bytes as two words of bf16, exactly; `bias` is 2^23 + 128 and the zero point. */
DEVICE void widen_bytes(uint32_t bytes, float bias, uint32_t *low, uint32_t *high)
{
    float f[4];
    bytes ^= 0x80808080u; /* q + 128 */
#pragma unroll
    for (int i = 0; i < 4; i++) /* 2^23 + q + 128 */
        f[i] = bits_float(0x4b000000u | (bytes >> 8 * i & 255u)) - bias;
    *low = pack_bf16(f[0], f[1]);
    *high = pack_bf16(f[2], f[3]);
}

/* Codes in the upper bytes of both halves. Their bits, moved, are the value times 2^-120, of
 * numbers below the normal ones too. */
DEVICE uint32_t widen_codes(uint32_t codes)
{
    return mul_bf16((codes & 0x80008000u) | (codes >> 4 & 0x07f007f0u), 0x7b807b80u);
}

template <bool IS_E4M3> struct byte_weights : runs {
    enum { UNITS = 1 };
    static constexpr bool HALVES = false;
    struct loaded {
        uint4 q; /* row g: first, second product; row g + 8 */
        uint32_t scale[2];
        uint32_t zeros; /* of both rows; the rare weight that has some waits for them */
    };
    static DEVICE_MEMBER bool has_min(const struct matrix &)
    {
        return false;
    }

    static DEVICE_MEMBER void fetch(const struct matrix &w, int64_t row, int u, int lane)
    {
        fetch_ahead((const uint4 *)w.data + unit_index(w, row, u) * 32 + lane);
        fetch_factors(w, row, u, lane);
    }

    static DEVICE_MEMBER loaded load(const struct matrix &w, int64_t row, int u, int lane)
    {
        const int64_t at = scale_index(w, row, u, lane);
        loaded v;
        v.q = load_once((const uint4 *)w.data + unit_index(w, row, u) * 32 + lane);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            v.scale[r] = bits_of(w.scales, w.scale_number, at + 8 * r);
        }
        v.zeros = 0;
        if (!IS_E4M3 && w.zeros != nullptr)
            v.zeros = w.zeros[at] | (uint32_t)w.zeros[at + 8] << 8;
        return v;
    }

    static DEVICE_MEMBER void widen(uint32_t word, int zero, uint32_t *low, uint32_t *high)
    {
        if (IS_E4M3) {
            *low = widen_codes(word);
            *high = widen_codes(word << 8);
        } else {
            widen_bytes(word, 8388736.0f + (float)zero, low, high);
        }
    }

    static DEVICE_MEMBER opened open(const struct matrix &w, const loaded &v, int)
    {
        opened o;
        widen(v.q.x, (signed char)v.zeros, &o.first[0], &o.first[2]);
        widen(v.q.y, (signed char)v.zeros, &o.second[0], &o.second[2]);
        widen(v.q.z, (signed char)(v.zeros >> 8), &o.first[1], &o.first[3]);
        widen(v.q.w, (signed char)(v.zeros >> 8), &o.second[1], &o.second[3]);
        o.scale[0][0] = o.scale[1][0] = number_of(v.scale[0], w.scale_number);
        o.scale[0][1] = o.scale[1][1] = number_of(v.scale[1], w.scale_number);
        return o;
    }
};

/* Plain rows of E4M3, as cuBLASLt reads them: 16 neighbouring inputs of a row, of which eight count
 * as one unit of the 64 inputs that four lanes have together, and eight as the other. No group ends
 * within the 64. */
struct row_codes {
    enum { UNITS = 2 };
    static constexpr bool HALVES = false;
    struct loaded {
        uint4 q[2]; /* rows g and g + 8 */
        float scale[2];
    };
    static DEVICE_MEMBER int x_first(int t, int j)
    {
        return 16 * t - 24 * j;
    }
    static DEVICE_MEMBER int x_second(int t, int j)
    {
        return 16 * t - 24 * j + 4;
    }
    static constexpr int X_NEXT = 8;
    static DEVICE_MEMBER int x_byte(int lane, int j)
    {
        const int g = lane / 4, t = lane & 3;
        return (t / 2 - j) * X_UNIT_BYTES + 64 * g + 16 * ((2 * (t & 1) + j) ^ (g & 2));
    }
    static DEVICE_MEMBER bool has_min(const struct matrix &)
    {
        return false;
    }

    static DEVICE_MEMBER void fetch(const struct matrix &w, int64_t row, int u, int lane)
    {
        const unsigned char *at = (const unsigned char *)w.data + (row + lane / 4) * w.stride +
                                  32 * u + 16 * (lane & 3);
        fetch_ahead(at);
        fetch_ahead(at + 8 * (int64_t)w.stride);
        fetch_factors(w, row, u, lane);
    }

    static DEVICE_MEMBER loaded load(const struct matrix &w, int64_t row, int u, int lane)
    {
        const unsigned char *at =
            (const unsigned char *)w.data + (row + lane / 4) * w.stride + 32 * u;
        const float *scale = (const float *)w.scales + scale_index(w, row, u, lane);
        loaded v;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            v.q[r] = load_once((const uint4 *)(at + 8 * r * (int64_t)w.stride) + (lane & 3));
            v.scale[r] = scale[8 * r];
        }
        return v;
    }

    static DEVICE_MEMBER opened open(const struct matrix &, const loaded &v, int j)
    {
        opened o;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t first = j == 0 ? v.q[r].x : v.q[r].z;
            const uint32_t second = j == 0 ? v.q[r].y : v.q[r].w;
            o.first[r] = widen_codes(pick_bytes(first, 0x1404u));
            o.first[r + 2] = widen_codes(pick_bytes(first, 0x3424u));
            o.second[r] = widen_codes(pick_bytes(second, 0x1404u));
            o.second[r + 2] = widen_codes(pick_bytes(second, 0x3424u));
            o.scale[0][r] = o.scale[1][r] = v.scale[r];
        }
        return o;
    }
};

/* --- nibbles: Q4_0, Q4_1, Q4_K, I4 ------------------------------------------------------------ */

enum { BIAS = 0x43004300 }; /* 128 twice, in bf16: whole numbers up to 255 are its mantissa */

/* Whole numbers at the low ends of both halves, less 128 and what `bias` adds to it. */
DEVICE uint32_t widen_bits(uint32_t bits, uint32_t bias)
{
    return sub_bf16(bits | (uint32_t)BIAS, bias);
}

DEVICE uint32_t bias_of(int zero)
{
    return (uint32_t)BIAS + (uint32_t)zero * 0x10001u;
}

DEVICE uint32_t word_of(const uint4 &v, int i)
{
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

struct nibble_weights : runs {
    enum { UNITS = 2 };
    static constexpr bool HALVES = false;
    struct loaded {
        uint4 q;              /* of each unit rows g and g + 8 */
        uint32_t scale[2][2]; /* [unit][row] */
        uint32_t extra[2][2]; /* zero points, or minima in f16 */
    };
    static DEVICE_MEMBER bool has_min(const struct matrix &w)
    {
        return w.mins != nullptr;
    }

    static DEVICE_MEMBER void fetch(const struct matrix &w, int64_t row, int u, int lane)
    {
        fetch_ahead((const uint4 *)w.data + unit_index(w, row, u) / 2 * 32 + lane);
        fetch_factors(w, row, u, lane);
        fetch_factors(w, row, u + 1, lane);
    }

    static DEVICE_MEMBER loaded load(const struct matrix &w, int64_t row, int u, int lane)
    {
        loaded v;
        v.q = load_once((const uint4 *)w.data + unit_index(w, row, u) / 2 * 32 + lane);
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int64_t at = scale_index(w, row, u + j, lane) + 8 * r;
                v.scale[j][r] = bits_of(w.scales, w.scale_number, at);
                v.extra[j][r] = w.mins != nullptr    ? w.mins[at]
                                : w.zeros != nullptr ? w.zeros[at]
                                                     : 8;
            }
        return v;
    }

    static DEVICE_MEMBER opened open(const struct matrix &w, const loaded &v, int j)
    {
        opened o;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t word = word_of(v.q, 2 * j + r);
            const uint32_t bias = bias_of(w.mins != nullptr ? 0 : (int)v.extra[j][r]);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                o.first[r + 2 * i] = widen_bits(word >> 4 * i & 0x000f000fu, bias);
                o.second[r + 2 * i] = widen_bits(word >> (4 * i + 8) & 0x000f000fu, bias);
            }
            o.scale[0][r] = o.scale[1][r] = number_of(v.scale[j][r], w.scale_number);
            o.min[0][r] = o.min[1][r] =
                w.mins != nullptr ? f16_to_float((uint16_t)v.extra[j][r]) : 0.0f;
        }
        return o;
    }
};

/* --- few bits in two planes: Q5_0, Q5_1, Q5_K (4 and 1), Q6_K (4, 2), Q3_K (2, 1), Q2_K (2) ----
 */

template <int LOW, int HIGH> struct plane_weights : runs {
    enum { UNITS = 8 / LOW, HIGH_WORDS = UNITS * HIGH / 2 };
    static constexpr bool HALVES = LOW + HIGH != 5;
    static constexpr int OFFSET = LOW == 2 ? (HIGH > 0 ? 4 : 0) : HIGH == 2 ? 32 : 16;
    struct loaded {
        uint4 q; /* 4 bits: as nibbles; 2: a word of both rows for each unit */
        uint32_t high[HIGH_WORDS > 0 ? HIGH_WORDS : 1];
        uint32_t factors[UNITS][2]; /* [unit][row]: tails; of Q5_0, Q5_1 scales */
        /* Of rows g and g + 8: d, and the factor of minima above it; of Q5_1 minima as factors. */
        uint32_t heads[LOW + HIGH == 5 ? UNITS : 1][2];
    };

    static DEVICE_MEMBER bool is_k(const struct matrix &w)
    {
        return LOW + HIGH != 5 || w.tails != nullptr;
    }

    static DEVICE_MEMBER bool has_min(const struct matrix &w)
    {
        return LOW + HIGH == 5 ? w.tails != nullptr || w.mins != nullptr : HIGH == 0;
    }

    static DEVICE_MEMBER void fetch(const struct matrix &w, int64_t row, int u, int lane)
    {
        const int64_t unit = unit_index(w, row, u), load = unit / UNITS * 32 + lane;
        fetch_ahead((const uint4 *)w.data + load);
        if (HIGH > 0)
            fetch_ahead((const uint32_t *)w.high + load * HIGH_WORDS);
        if (is_k(w)) {
            fetch_ahead(w.tails + 32 * unit + UNITS * lane);
            fetch_ahead((const uint32_t *)w.scales + unit / 8 * 16 + (lane & 15));
        } else {
            fetch_ahead((const unsigned char *)w.scales + 32 * unit + UNITS * lane);
            if (w.mins != nullptr)
                fetch_ahead((const unsigned char *)w.mins + 32 * unit + UNITS * lane);
        }
    }

    static DEVICE_MEMBER loaded load(const struct matrix &w, int64_t row, int u, int lane)
    {
        const int64_t unit = unit_index(w, row, u), at = unit * 16 + lane / 4;
        loaded v;
        v.q = load_once((const uint4 *)w.data + unit / UNITS * 32 + lane);
        const uint32_t *high = (const uint32_t *)w.high + (unit / UNITS * 32 + lane) * HIGH_WORDS;
#pragma unroll
        for (int i = 0; i < HIGH_WORDS; i++)
            v.high[i] = high[i];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (is_k(w))
                v.heads[0][r] = ((const uint32_t *)w.scales)[unit / 8 * 16 + lane / 4 + 8 * r];
            const uint16_t *factors = (const uint16_t *)(is_k(w) ? w.tails : w.scales);
#pragma unroll
            for (int j = 0; j < UNITS; j++) {
                v.factors[j][r] = factors[at + 16 * j + 8 * r];
                if (!is_k(w))
                    v.heads[LOW + HIGH == 5 ? j : 0][r] =
                        w.mins != nullptr ? w.mins[at + 16 * j + 8 * r] : 0;
            }
        }
        return v;
    }

    /* Two inputs of unit j: i-th pair of row r. */
    static DEVICE_MEMBER uint32_t pair(const loaded &v, int j, int r, int i)
    {
        const int part = 4 * r + i;
        const uint32_t low = LOW == 4 ? word_of(v.q, 2 * j + r) >> 4 * i & 0x000f000fu
                                      : word_of(v.q, j) >> 2 * part & 0x00030003u;
        if (HIGH == 0)
            return low;
        const uint32_t word = v.high[HIGH == 2 ? j : j / 2];
        const int bit = HIGH == 2 ? 2 * part : (j & 1) * 8 + part;
        const uint32_t above = HIGH == 2 ? word >> bit & 0x00030003u : word >> bit & 0x00010001u;
        return low | above << LOW;
    }

    /* Scale and minimum of a half: the head's times those of the tail. */
    static DEVICE_MEMBER void scale_of(const loaded &v, int j, int r, int half, float *scale,
                                       float *min)
    {
        const float d = f16_to_float((uint16_t)v.heads[0][r]);
        const float d_min = f16_to_float((uint16_t)(v.heads[0][r] >> 16));
        const int tail = (int)v.factors[j][r], own = tail >> 8 * half & 255;
        if (LOW + HIGH == 5) { /* one for both halves */
            *scale = d * (float)(tail & 255);
            *min = d_min * (float)(tail >> 8);
        } else if (HIGH == 0) {
            *scale = d * (float)(own & 15);
            *min = d_min * (float)(own >> 4);
        } else {
            *scale = d * (float)(signed char)own;
            *min = 0.0f;
        }
    }

    static DEVICE_MEMBER opened open(const struct matrix &w, const loaded &v, int j)
    {
        const uint32_t bias = bias_of(has_min(w) ? 0 : OFFSET);
        opened o;
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                o.first[r + 2 * i] = widen_bits(pair(v, j, r, i), bias);
                o.second[r + 2 * i] = widen_bits(pair(v, j, r, i + 2), bias);
            }
#pragma unroll
            for (int half = 0; half < 2; half++)
                if (is_k(w)) {
                    scale_of(v, j, r, half, &o.scale[half][r], &o.min[half][r]);
                } else {
                    o.scale[half][r] = f16_to_float((uint16_t)v.factors[j][r]);
                    o.min[half][r] = f16_to_float((uint16_t)v.heads[LOW + HIGH == 5 ? j : 0][r]);
                }
        }
        return o;
    }
};

#endif
