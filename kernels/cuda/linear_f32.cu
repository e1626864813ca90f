/*
 * linear_f32.cu - out = W x for weights of f32, and blocks as bf16 rows for cuBLASLt
 *
 * A warp per output and 8 rows of x: lanes take inputs in turn, then add up over the warp. Each
 * output's order is its own, whatever the number of rows. Bytes of W: 4 per weight, read once per
 * 8 rows; 70 % of the bandwidth at one row. Routers and models published in f32 come here.
 */
#include "kernels/cuda/matrix.cuh"

enum { WARPS = 8, ROWS = 8 };

KERNEL(32 * WARPS, 2) f32_kernel(const struct linear_args args)
{
    const int block = (int)blockIdx.z, lane = lane_of();
    const int n = (int)blockIdx.y * WARPS + (int)threadIdx.x / 32;
    const int begin = args.first != nullptr ? args.first[block] : 0;
    const int end = args.first != nullptr ? args.first[block + 1] : args.rows;
    const int first = begin + (int)blockIdx.x * ROWS;
    const int rows = end - first < ROWS ? end - first : ROWS;
    if (rows <= 0 || n >= args.out_dim)
        return;

    const float *w = (const float *)args.w.data +
                     ((int64_t)block * args.block_rows + n) * args.w.stride;
    const int64_t x = block * args.x_block + first * args.x_row;
    float sums[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = 0.0f;
    for (int k = lane; k < args.w.cols; k += 32) {
        const float weight = w[k];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (r < rows)
                sums[r] += weight * number_at(args.x, args.x_number, x + r * args.x_row + k);
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const float sum = warp_sum(sums[r]);
        if (lane == 0 && r < rows)
            args.out[block * args.out_block + (first + r) * args.out_row + n] =
                sum + (args.bias != nullptr ? args.bias[n] : 0.0f);
    }
}

extern "C" void linear_f32(const struct launch *launch, const void *args)
{
    const struct linear_args *a = (const struct linear_args *)args;
    const dim3 grid(ceil_div(a->rows, ROWS), ceil_div(a->out_dim, WARPS), a->num_blocks);
    launch_kernel(f32_kernel, grid, 32 * WARPS, 0, launch, *a);
}

enum { EXPAND_THREADS = 256 };

/* Two neighbouring inputs per thread and turn; stride is even. */
KERNEL(EXPAND_THREADS, 4) expand_kernel(const struct expand_args args)
{
    const int64_t pairs = args.w.stride / 2, num = args.num_rows * pairs;
    for (int64_t i = (int64_t)blockIdx.x * EXPAND_THREADS + threadIdx.x; i < num;
         i += (int64_t)gridDim.x * EXPAND_THREADS) {
        const int64_t row = args.first_row + i / pairs;
        const int col = (int)(i % pairs) * 2;
        ((uint32_t *)args.out)[i] =
            pack_bf16(matrix_at(args.w, row, col), matrix_at(args.w, row, col + 1));
    }
}

extern "C" void linear_expand(const struct launch *launch, const void *args)
{
    const struct expand_args *a = (const struct expand_args *)args;
    const int64_t num = (int64_t)a->num_rows * a->w.stride / 2;
    launch_kernel(expand_kernel, dim3(ceil_div(num, 4 * EXPAND_THREADS)), EXPAND_THREADS, 0, launch,
                  *a);
}
