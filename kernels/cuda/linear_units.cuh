/*
 * linear_units.cuh - one unit of 32 inputs: how W and x lie in lanes, and what is added to a sum
 *
 * A unit is two mma.m16n8k16 for 16 outputs and 8 rows of x. Which of a unit's inputs stands where
 * in the two products, whether sums come out of zero and are scaled, and in which order what comes
 * of it is added, is settled here, for all kernels of linear: an output of any of them has the same
 * bits for the same units. Scaled sums are explicit FMAs, so that no compiler has a choice.
 *
 * An output is eight sums, each over an eighth of the units in their order (first_of_eighth());
 * the eight are added in order, then bias.
 *
 * Weights are a class with
 *     unit                : what a lane holds of UNITS units
 *     load(w, row, u)     : from memory
 *     apply<NT>(...)      : one of them, to the sums
 * and say where a lane's eight inputs of x lie (x_first, x_second: two runs of four, from the
 * beginning of unit j of a load on).
 */
#ifndef KERNELS_CUDA_LINEAR_UNITS_CUH
#define KERNELS_CUDA_LINEAR_UNITS_CUH

#include "kernels/cuda/linear_forms.cuh"

enum { LINEAR_WARPS = 8, LINEAR_THREADS = 32 * LINEAR_WARPS };

enum { EIGHTHS = 8 };

/* Where eighth `i` begins, of `steps` loads of `units` units. */
DEVICE int first_of_eighth(int steps, int i, int units)
{
    return steps * i / EIGHTHS * units;
}

/* A lane's part of a unit of x for one n-tile: inputs as b0, b1 of the first mma and of the second.
 */
struct x_unit {
    uint32_t b[4];
};

/* Plain rows of bf16 or f16: a lane's eight inputs are neighbours, 16 bytes. */
template <enum number NUMBER> struct plain_weights {
    enum { UNITS = 1, AHEAD = 4 };
    struct unit {
        uint4 low, high; /* of rows g and g + 8 */
    };
    static DEVICE_MEMBER int x_first(int t, int)
    {
        return 8 * t;
    }
    static DEVICE_MEMBER int x_second(int t, int)
    {
        return 8 * t + 4;
    }

    static DEVICE_MEMBER unit load(const struct matrix &w, int64_t row, int u, int lane)
    {
        const uint16_t *at = (const uint16_t *)w.data + (row + lane / 4) * w.stride + 32 * u;
        unit v;
        v.low = load_once((const uint4 *)(at + 8 * (lane & 3)));
        v.high = load_once((const uint4 *)(at + 8 * (int64_t)w.stride + 8 * (lane & 3)));
        return v;
    }

    static DEVICE_MEMBER void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        if (NUMBER == NUMBER_BF16)
            mma_bf16(c, a, b0, b1);
        else
            mma_f16(c, a, b0, b1);
    }

    template <int NT>
    static DEVICE_MEMBER void apply(const struct matrix &, const unit &v, int,
                                    const struct x_unit *x, float (*c)[4])
    {
        const uint32_t first[4] = { v.low.x, v.high.x, v.low.y, v.high.y };
        const uint32_t second[4] = { v.low.z, v.high.z, v.low.w, v.high.w };
#pragma unroll
        for (int n = 0; n < NT; n++) {
            multiply(c[n], first, x[n].b[0], x[n].b[1]);
            multiply(c[n], second, x[n].b[2], x[n].b[3]);
        }
    }
};

/* Sums of a unit come out of zero and are scaled once: the numbers are exact in bf16. */
DEVICE void add_scaled(float c[4], const float part[4], const float scale[2])
{
    c[0] = fmaf(scale[0], part[0], c[0]);
    c[1] = fmaf(scale[0], part[1], c[1]);
    c[2] = fmaf(scale[1], part[2], c[2]);
    c[3] = fmaf(scale[1], part[3], c[3]);
}

/* The sums of a lane's two rows of x over the first half of a unit, if halves have minima of their
 * own, and over the rest. */
struct x_sums {
    float half[2][2];
};

template <bool HALVES> DEVICE struct x_sums sums_of(const struct x_unit &x)
{
    const uint32_t ones[4] = { 0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u };
    float part[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    struct x_sums s;
    mma_bf16(part, ones, x.b[0], x.b[1]);
    s.half[0][0] = part[0];
    s.half[0][1] = part[1];
    if (HALVES)
        part[0] = part[1] = part[2] = part[3] = 0.0f;
    mma_bf16(part, ones, x.b[2], x.b[3]);
    s.half[1][0] = part[0];
    s.half[1][1] = part[1];
    return s;
}

/* What is subtracted from each input. */
DEVICE void take_min(float c[4], const float sums[2], const float min[2])
{
    c[0] = fmaf(-min[0], sums[0], c[0]);
    c[1] = fmaf(-min[0], sums[1], c[1]);
    c[2] = fmaf(-min[1], sums[0], c[2]);
    c[3] = fmaf(-min[1], sums[1], c[3]);
}

template <bool HALVES>
DEVICE void take_mins(float c[4], const struct x_sums &s, const struct opened &o)
{
    if (HALVES)
        take_min(c, s.half[0], o.min[0]);
    take_min(c, s.half[1], o.min[1]);
}

/* Without minima. */
template <bool HALVES>
DEVICE void multiply_opened(float c[4], const struct opened &o, const struct x_unit &x)
{
    float part[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    mma_bf16(part, o.first, x.b[0], x.b[1]);
    if (HALVES) {
        add_scaled(c, part, o.scale[0]);
        part[0] = part[1] = part[2] = part[3] = 0.0f;
    }
    mma_bf16(part, o.second, x.b[2], x.b[3]);
    add_scaled(c, part, o.scale[1]);
}

/* Everything else, over one of the forms of linear_forms.cuh. */
template <class FORM_> struct packed_weights : FORM_ {
    typedef FORM_ FORM;
    enum { AHEAD = 2 };
    typedef typename FORM::loaded unit;

    template <int NT>
    static DEVICE_MEMBER void apply(const struct matrix &w, const unit &v, int j,
                                    const struct x_unit *x, float (*c)[4])
    {
        const struct opened o = FORM::open(w, v, j);
#pragma unroll
        for (int n = 0; n < NT; n++) {
            multiply_opened<FORM::HALVES>(c[n], o, x[n]);
            if (FORM::has_min(w))
                take_mins<FORM::HALVES>(c[n], sums_of<FORM::HALVES>(x[n]), o);
        }
    }
};

/* Rows of x that a block of W is multiplied with. */
DEVICE int first_row_of(const struct linear_args &args, int block)
{
    return args.first != nullptr ? args.first[block] : 0;
}

DEVICE int end_row_of(const struct linear_args &args, int block)
{
    return args.first != nullptr ? args.first[block + 1] : args.rows;
}

#endif
