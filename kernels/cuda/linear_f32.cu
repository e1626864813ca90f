/*
 * linear_f32.cu - out = W x for weights of f32, and x in the order of a weight's columns
 *
 * A warp per output and 8 rows of x: lanes take inputs in turn, then add up over the warp. Each
 * output's order is its own, whatever the number of rows. Bytes of W: 4 per weight, read once per
 * 8 rows; 70 % of the bandwidth at one row. Routers and models published in f32 come here.
 *
 * The order: a number per thread and turn, read from anywhere in a row that the caches hold.
 */
#include "kernels/cuda/matrix.cuh"

enum { WARPS = 8, ROWS = 8 };

KERNEL(32 * WARPS, 2) f32_kernel(const struct linear_args args)
{
    begin_kernel();
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

enum { ORDER_THREADS = 256 };

KERNEL(ORDER_THREADS, 4) order_kernel(const struct order_args args)
{
    begin_kernel();
    const int64_t num = (int64_t)args.rows * args.num_blocks * args.cols;
    for (int64_t i = (int64_t)blockIdx.x * ORDER_THREADS + threadIdx.x; i < num;
         i += (int64_t)gridDim.x * ORDER_THREADS) {
        const int k = args.order[i % args.cols];
        const int64_t block = i / args.cols % args.num_blocks, row = i / args.cols / args.num_blocks;
        const int64_t at = row * args.x_row + block * args.x_block + k;
        number_store(args.out, NUMBER_BF16, i, k < 0 ? 0.0f : number_at(args.x, args.from, at));
    }
}

extern "C" void linear_order(const struct launch *launch, const void *args)
{
    const struct order_args *a = (const struct order_args *)args;
    const int64_t num = (int64_t)a->rows * a->num_blocks * a->cols;
    launch_kernel(order_kernel, dim3(ceil_div(num, 4 * ORDER_THREADS)), ORDER_THREADS, 0, launch, *a);
}
