/*
 * linear_e4m3.cu - out = W x for weights of FP8 with scales; see linear.cuh
 *
 * Bytes of W: 1.03 per weight where blocks of 128 x 128 have a scale (it is repeated for each row,
 * f32), 1.00 where a tensor or a row has. x is bf16 and is not rounded to FP8: what a checkpoint
 * means is the matrix that its scales give. Two instructions widen a code; expected 80 to 85 % of
 * the bandwidth for few rows.
 */
#include "kernels/cuda/linear.cuh"

typedef byte_weights<true> form;

extern "C" void linear_e4m3(const struct launch *launch, const void *args)
{
    launch_packed<form>(launch, args);
}

extern "C" void linear_e4m3_expand(const struct launch *launch, const void *args)
{
    launch_expand<form>(launch, args);
}
