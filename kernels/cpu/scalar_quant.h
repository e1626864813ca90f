/*
 * scalar_quant.h - weights in blocks for the instruction set `scalar`; contracts are in op.h
 */
#ifndef KERNELS_CPU_SCALAR_QUANT_H
#define KERNELS_CPU_SCALAR_QUANT_H

#include "kernels/cpu/op.h"

void scalar_quantize(const struct quantize_args *args, int32_t row_from, int32_t row_to);
void scalar_linear_quant(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                         int32_t row_from, int32_t row_to);

#endif
