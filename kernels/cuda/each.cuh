/*
 * each.cuh - threads take elements in turn, neighbours next to each other
 */
#ifndef KERNELS_CUDA_EACH_CUH
#define KERNELS_CUDA_EACH_CUH

#include "kernels/cuda/device.cuh"

enum { THREADS = 256, MAX_GRID = 65535 };

/* Elements of an array. */
static inline dim3 grid_of(int64_t num)
{
    const int64_t blocks = (num + THREADS - 1) / THREADS;
    return dim3((unsigned)(blocks < MAX_GRID ? blocks : (int64_t)MAX_GRID));
}

#define EACH(i, num)                                                                               \
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < (num);                       \
         i += (int64_t)gridDim.x * THREADS)

/* Elements of rows: no division tells which row one is in. Of many rows a thread takes four in a
 * row. */
static inline dim3 grid_of_cells(int64_t rows, int32_t cols)
{
    return dim3((unsigned)ceil_div(cols, rows < 64 ? THREADS : 4 * THREADS),
                (unsigned)(rows < MAX_GRID ? rows : (int64_t)MAX_GRID));
}

#define EACH_CELL(row, col, rows, cols)                                                            \
    for (int64_t row = blockIdx.y; row < (rows); row += gridDim.y)                                 \
        for (int32_t col = (int32_t)(blockIdx.x * THREADS + threadIdx.x); col < (cols);            \
             col += (int32_t)(gridDim.x * THREADS))

#endif
