/*
 * linear_e4m3_rows.cu - out = W x for FP8 that lies in plain rows; see linear.cuh
 *
 * The same matrix is what cuBLASLt multiplies by x in E4M3 where there are many rows: nothing is
 * written out for it, and a second copy would be as large as the model. Bytes of W: 1.00 to 1.03
 * per weight, in runs of 64 where tiles would have 512; a lane has 32 of two rows in flight per
 * load, eight 16-byte loads for few rows, as plain bf16 has. Three instructions widen a code, one
 * more than of tiles. Expected 80 to 85 % of the bandwidth for few rows.
 *
 * Rows of bf16 for cuBLASLt are made of it where a product in E4M3 is not possible.
 */
#include "kernels/cuda/linear.cuh"

extern "C" void linear_e4m3_rows(const struct launch *launch, const void *args)
{
    launch_packed<row_codes>(launch, args);
}

extern "C" void linear_e4m3_rows_expand(const struct launch *launch, const void *args)
{
    launch_expand<row_codes>(launch, args);
}
