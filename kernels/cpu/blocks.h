/*
 * blocks.h - linear layers of which one weight holds several: experts, heads
 *
 * A block is a run of whole panels, so each is what linear() computes, with the same bits: by
 * the instruction set's linear over a view of the weight.
 */
#ifndef KERNELS_CPU_BLOCKS_H
#define KERNELS_CPU_BLOCKS_H

#include "kernels/backend.h"

void blocks_moe_linear(struct device *device, float *out, const struct weight *weight,
                       int32_t out_dim, const float *x, const struct moe_plan *plan, int32_t rows);
void blocks_heads_linear(struct device *device, const struct heads_linear *args, int32_t rows);

#endif
