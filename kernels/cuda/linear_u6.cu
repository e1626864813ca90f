/*
 * linear_u6.cu - out = W x for six bits: Q6_K; see linear.cuh
 *
 * A plane of nibbles and one of two bits, a signed byte of scale for each 16 inputs, f16 for each
 * 256: 0.83 bytes per weight, 0.82 in its file. x is bf16. Expected 55 % of the bandwidth: two
 * weights are six instructions.
 */
#include "kernels/cuda/linear.cuh"

typedef plane_weights<4, 2> form;

extern "C" void linear_u6(const struct launch *launch, const void *args)
{
    launch_packed_rare<form>(launch, args);
}

extern "C" void linear_u6_expand(const struct launch *launch, const void *args)
{
    launch_expand<form>(launch, args);
}
