/*
 * moe.h - which experts a row goes to, the order of rows by expert, and the sum over experts
 *
 * Plain C for every instruction set: a router has few logits, and its choice must not depend on
 * how wide a vector is.
 */
#ifndef KERNELS_CPU_MOE_H
#define KERNELS_CPU_MOE_H

#include "kernels/backend.h"

void moe_route(struct device *device, const struct moe_plan *plan, const float *logits,
               const struct moe_routing *routing, int32_t rows);
void moe_route_tokens(struct device *device, const struct moe_plan *plan,
                      const struct moe_tokens *tokens, int32_t rows);
void moe_combine(struct device *device, float *out, const float *y, const struct moe_plan *plan,
                 const float *shared, const float *gate, int32_t rows, int32_t cols);

#endif
