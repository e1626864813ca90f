/*
 * linear_u4.cu - out = W x for nibbles: Q4_0, Q4_1, Q4_K, and integers with scales; see linear.cuh
 *
 * Bytes of W: 0.5625 per weight (Q4_0), 0.625 with minima (Q4_K: 0.5625 in its file), 0.516 with
 * groups of 128 and scales in f16, 0.523 with zero points. x is bf16. Two nibbles are three
 * instructions; a warp has about 85 to the 108 cycles in which 512 bytes of 16 rows arrive:
 * expected 60 to 70 % of the bandwidth for few rows.
 */
#include "kernels/cuda/linear.cuh"

extern "C" void linear_u4(const struct launch *launch, const void *args)
{
    launch_packed<nibble_weights>(launch, args);
}

extern "C" void linear_u4_expand(const struct launch *launch, const void *args)
{
    launch_expand<nibble_weights>(launch, args);
}
