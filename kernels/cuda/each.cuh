/*
 * each.cuh - threads take elements in turn, neighbours next to each other
 */
#ifndef KERNELS_CUDA_EACH_CUH
#define KERNELS_CUDA_EACH_CUH

#include "kernels/cuda/device.cuh"

enum { THREADS = 256 };

static dim3 grid_of(int64_t num)
{
    const int64_t blocks = (num + THREADS - 1) / THREADS;
    return dim3((unsigned)(blocks < 65535 ? blocks : 65535));
}

#define EACH(i, num)                                                                               \
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < (num);                       \
         i += (int64_t)gridDim.x * THREADS)

#endif
