/*
 * linear_round.cu - x rounded to E4M3, for products of many rows by cuBLASLt
 *
 *     whole rows : a block takes a row twice, first its largest magnitude, then each value divided by
 *                  the scale that this gives; the second time it comes from the caches
 *     runs       : a warp takes 128 inputs of a row at once, four a lane, with a scale of their own
 *
 * The scale is the largest magnitude / 448, so that this becomes the largest code. A row or run with
 * something in it that is not finite has NaN for its scale and for each code: its products are NaN,
 * not a number that looks right. What is smaller than 2^-120 times 448 becomes zero. Columns behind the
 * last are zeros.
 *
 * Bytes of a row: 2 cols read, cols written. 2,048 rows of 4,096 are 25 MB, 7 us at 80 % of 4.8
 * TB/s; their product with 28,672 outputs takes 400 us at 1,200 TFLOP/s, with 4,096 outputs 57.
 */
#include "kernels/cuda/e4m3.cuh"

enum { ROUND_THREADS = 256, RUN = 128, FOUR = 4 /* of a thread at once */ };

struct four {
    float x[FOUR];
};

/* Columns k to k + 3 of a row; zeros behind the last of both. */
DEVICE struct four load_four(const struct round_args &args, int64_t row, int k)
{
    const int64_t at = row * args.cols + k;
    const int cols = row < args.num ? args.cols : 0;
    struct four v;
    if (args.from == NUMBER_BF16 && cols % FOUR == 0 && k < cols) {
        const uint2 pair = *(const uint2 *)((const uint16_t *)args.x + at);
        v.x[0] = bits_float(pair.x << 16);
        v.x[1] = bits_float(pair.x & 0xffff0000u);
        v.x[2] = bits_float(pair.y << 16);
        v.x[3] = bits_float(pair.y & 0xffff0000u);
        return v;
    }
#pragma unroll
    for (int i = 0; i < FOUR; i++)
        v.x[i] = k + i < cols ? number_at(args.x, args.from, at + i) : 0.0f;
    return v;
}

/* Of magnitudes as bits, among which infinity and NaN are the largest. */
DEVICE uint32_t largest(uint32_t most, const struct four &v)
{
#pragma unroll
    for (int i = 0; i < FOUR; i++) {
        const uint32_t magnitude = float_bits(v.x[i]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

DEVICE uint32_t warp_largest(uint32_t x)
{
    for (int mask = 16; mask > 0; mask /= 2) {
        const uint32_t other = (uint32_t)lane_xor((int)x, mask);
        x = other > x ? other : x;
    }
    return x;
}

struct rounding {
    float scale, inverse;
};

/* inverse NaN: every code is. */
DEVICE struct rounding rounding_of(uint32_t magnitude)
{
    const float nan = bits_float(0x7fc00000u);
    struct rounding r;
    r.scale = magnitude < 0x7f800000u ? bits_float(magnitude) / 448.0f : nan;
    r.inverse = magnitude >= 0x7f800000u ? nan : r.scale > 0x1p-120f ? 1.0f / r.scale : 0.0f;
    return r;
}

DEVICE void store_four(const struct round_args &args, int64_t row, int k, const struct four &v,
                       float inverse)
{
    *(uint32_t *)(args.out + row * args.stride + k) =
        e4m3_pair_of(v.x[0] * inverse, v.x[1] * inverse) |
        e4m3_pair_of(v.x[2] * inverse, v.x[3] * inverse) << 16;
}

KERNEL(ROUND_THREADS, 4) round_rows_kernel(const struct round_args args)
{
    __shared__ uint32_t space[MAX_WARPS];
    begin_kernel();
    const int64_t row = (int64_t)blockIdx.x;
    const int first = FOUR * (int)threadIdx.x, step = FOUR * ROUND_THREADS;
    uint32_t most = 0;
    for (int k = first; k < args.cols; k += step)
        most = largest(most, load_four(args, row, k));
    most = warp_largest(most);
    if (lane_of() == 0)
        space[threadIdx.x / 32] = most;
    block_sync();
    for (int i = 0; i < ROUND_THREADS / 32; i++)
        most = space[i] > most ? space[i] : most;
    const struct rounding r = rounding_of(most);
    if (threadIdx.x == 0)
        args.scales[row] = r.scale;
    for (int k = first; k < args.stride; k += step)
        store_four(args, row, k, load_four(args, row, k), r.inverse);
}

KERNEL(ROUND_THREADS, 4) round_runs_kernel(const struct round_args args)
{
    begin_kernel();
    const int runs = args.stride / RUN;
    const int64_t num = (int64_t)args.rows * runs;
    for (int64_t i = ((int64_t)blockIdx.x * ROUND_THREADS + threadIdx.x) / 32; i < num;
         i += (int64_t)gridDim.x * (ROUND_THREADS / 32)) {
        const int64_t row = i / runs;
        const int run = (int)(i % runs), k = run * RUN + FOUR * lane_of();
        const struct four v = load_four(args, row, k);
        const struct rounding r = rounding_of(warp_largest(largest(0, v)));
        if (lane_of() == 0)
            args.scales[(int64_t)run * args.rows + row] = r.scale;
        store_four(args, row, k, v, r.inverse);
    }
}

extern "C" void linear_round(const struct launch *launch, const void *args)
{
    const struct round_args *a = (const struct round_args *)args;
    if (a->has_runs)
        launch_kernel(round_runs_kernel,
                      dim3(ceil_div((int64_t)a->rows * (a->stride / RUN), 2 * ROUND_THREADS / 32)),
                      ROUND_THREADS, 0, launch, *a);
    else
        launch_kernel(round_rows_kernel, dim3(a->rows), ROUND_THREADS, 0, launch, *a);
}
