/*
 * linear_bf16.h - bf16 weights times float on the matrix unit of x86 (AMX), any number of rows
 */
#ifndef KERNELS_CPU_SIMD_LINEAR_BF16_H
#define KERNELS_CPU_SIMD_LINEAR_BF16_H

#include "kernels/cpu/simd/ops.h"

/* As linear_tiles of struct isa. */
void linear_bf16_avx512_amx(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                            int32_t row_from, int32_t row_to);

/* The same of one row, by FMA: the same bits. */
void linear_bf16_row(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                     int32_t row);

#endif
