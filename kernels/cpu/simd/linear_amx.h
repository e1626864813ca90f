/*
 * linear_amx.h - weights in blocks on the matrix unit of x86 (AMX), for many rows
 */
#ifndef KERNELS_CPU_SIMD_LINEAR_AMX_H
#define KERNELS_CPU_SIMD_LINEAR_AMX_H

#include "kernels/cpu/simd/ops.h"

/* Fewer rows are bound by the weights' bytes, which VNNI streams as fast. */
enum { AMX_MIN_ROWS = 24 };

/* As linear_quant of struct isa. */
void linear_quant_avx512_amx(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                             int32_t row_from, int32_t row_to);

#endif
