/*
 * linear_u4.cu - out = W x for weights in blocks of nibbles: Q4_0, Q4_K; see linear.cuh
 *
 * Bytes of W: 0.5625 per weight (Q4_0), 0.625 with minima (Q4_K: 0.5625 in its file). x is bf16.
 */
#include "kernels/cuda/linear.cuh"

extern "C" void linear_u4(const struct launch *launch, const void *args)
{
    if (((const struct linear_args *)args)->w.mins != nullptr)
        launch_linear<u4_weights<true>>(launch, args);
    else
        launch_linear<u4_weights<false>>(launch, args);
}
