/*
 * linear_plain.cu - out = W x for weights of bf16 and f16; see linear.cuh
 *
 * x is of the weights' type. From 17 rows on cuBLASLt is faster (lt.c); this serves all numbers of
 * rows where equal bits are wanted, experts and heads, and where cuBLASLt is missing.
 */
#include "kernels/cuda/linear.cuh"

extern "C" void linear_plain(const struct launch *launch, const void *args)
{
    if (((const struct linear_args *)args)->w.number == NUMBER_F16)
        launch_plain<NUMBER_F16>(launch, args);
    else
        launch_plain<NUMBER_BF16>(launch, args);
}
