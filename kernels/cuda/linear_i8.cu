/*
 * linear_i8.cu - out = W x for bytes: Q8_0, and integers with scales; see linear.cuh
 *
 * Bytes of W: 1.06 per weight (Q8_0), 1.02 with groups of 128. x is bf16. A byte is four
 * instructions; with 512 bytes of 16 rows a warp has about 70 to its 108 cycles of bandwidth:
 * expected 80 % of it for few rows.
 */
#include "kernels/cuda/linear.cuh"

typedef byte_weights<false> form;

extern "C" void linear_i8(const struct launch *launch, const void *args)
{
    launch_packed<form>(launch, args);
}

extern "C" void linear_i8_expand(const struct launch *launch, const void *args)
{
    launch_expand<form>(launch, args);
}
