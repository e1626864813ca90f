/*
 * linear_i8.cu - out = W x for weights in blocks of bytes: Q8_0, Q6_K; see linear.cuh
 *
 * Bytes of W: 1.06 per weight (Q8_0), 1.13 (Q6_K, which lies as bytes here: 0.82 in its file). x is
 * bf16.
 */
#include "kernels/cuda/linear.cuh"

extern "C" void linear_i8(const struct launch *launch, const void *args)
{
    if (((const struct linear_args *)args)->w.group == 16)
        launch_linear<i8_weights<16>>(launch, args);
    else
        launch_linear<i8_weights<32>>(launch, args);
}
