#include "kernels/dtype.h"

static const struct dtype_row {
    const char *name;
    int32_t block;
    size_t bytes; /* of a block */
} dtype_rows[] = {
    [DTYPE_F32] = { "f32", 1, 4 },       [DTYPE_F16] = { "f16", 1, 2 },
    [DTYPE_BF16] = { "bf16", 1, 2 },     [DTYPE_Q8_0] = { "q8_0", 32, 34 },
    [DTYPE_Q4_0] = { "q4_0", 32, 18 },   [DTYPE_Q4_K] = { "q4_k", 256, 144 },
    [DTYPE_Q6_K] = { "q6_k", 256, 210 }, [DTYPE_Q4_1] = { "q4_1", 32, 20 },
    [DTYPE_Q5_0] = { "q5_0", 32, 22 },   [DTYPE_Q5_1] = { "q5_1", 32, 24 },
    [DTYPE_Q2_K] = { "q2_k", 256, 84 },  [DTYPE_Q3_K] = { "q3_k", 256, 110 },
    [DTYPE_Q5_K] = { "q5_k", 256, 176 }, [DTYPE_F8_E4M3] = { "fp8", 1, 1 },
    [DTYPE_I8] = { "i8", 1, 1 },         [DTYPE_I4] = { "i4", 1, 1 },
};

size_t dtype_bytes(enum dtype dtype)
{
    return dtype_is_quant(dtype) ? 0 : dtype_rows[dtype].bytes;
}

int32_t dtype_block(enum dtype dtype)
{
    return dtype_rows[dtype].block;
}

size_t dtype_row_bytes(enum dtype dtype, int32_t cols)
{
    return (size_t)(cols / dtype_rows[dtype].block) * dtype_rows[dtype].bytes;
}

bool dtype_is_quant(enum dtype dtype)
{
    return dtype_rows[dtype].block > 1;
}

bool dtype_is_scaled(enum dtype dtype)
{
    return dtype == DTYPE_F8_E4M3 || dtype == DTYPE_I8 || dtype == DTYPE_I4;
}

size_t scaling_row_bytes(const struct scaling *scaling, int32_t cols)
{
    return (size_t)cols +
           (size_t)scaling->num_groups * (sizeof(float) + (scaling->has_zeros ? 1 : 0));
}

const char *dtype_name(enum dtype dtype)
{
    return dtype_rows[dtype].name;
}
