/*
 * linear_u3.cu - out = W x for two and three bits: Q2_K, Q3_K; see linear.cuh
 *
 * A load of 16 bytes is 128 inputs of 16 rows; Q3_K has a plane of single bits beside it. Bytes of
 * W: 0.33 per weight (Q2_K, as in its file), 0.45 (Q3_K: 0.43). x is bf16. So few bytes leave no
 * time for what widens them: expected 30 to 35 % of the bandwidth.
 */
#include "kernels/cuda/linear.cuh"

typedef plane_weights<2, 1> three;
typedef plane_weights<2, 0> two;

extern "C" void linear_u3(const struct launch *launch, const void *args)
{
    launch_packed_rare<three>(launch, args);
}

extern "C" void linear_u3_expand(const struct launch *launch, const void *args)
{
    launch_expand<three>(launch, args);
}

extern "C" void linear_u2(const struct launch *launch, const void *args)
{
    launch_packed_rare<two>(launch, args);
}

extern "C" void linear_u2_expand(const struct launch *launch, const void *args)
{
    launch_expand<two>(launch, args);
}
