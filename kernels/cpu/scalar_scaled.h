/*
 * scalar_scaled.h - products by weights with scales, of the instruction set `scalar`
 */
#ifndef KERNELS_CPU_SCALAR_SCALED_H
#define KERNELS_CPU_SCALAR_SCALED_H

#include "kernels/cpu/op.h"

void scalar_linear_scaled(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                          int32_t row_from, int32_t row_to);

#endif
