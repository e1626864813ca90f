/*
 * linear_u5.cu - out = W x for five bits: Q5_0, Q5_1, Q5_K; see linear.cuh
 *
 * A plane of nibbles and one of single bits: 20 bytes of 32 inputs, and scales. Bytes of W: 0.69
 * per weight (Q5_0), 0.75 (Q5_1), 0.70 (Q5_K), as in their files to 2 %. x is bf16. Two weights are
 * six instructions, more than memory leaves time for: expected 50 % of the bandwidth.
 */
#include "kernels/cuda/linear.cuh"

typedef plane_weights<4, 1> form;

extern "C" void linear_u5(const struct launch *launch, const void *args)
{
    launch_packed_rare<form>(launch, args);
}

extern "C" void linear_u5_expand(const struct launch *launch, const void *args)
{
    launch_expand<form>(launch, args);
}
