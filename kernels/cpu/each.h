/*
 * each.h - operations on each element by itself: soft clamp, clamp, INL dynamics
 */
#ifndef KERNELS_CPU_EACH_H
#define KERNELS_CPU_EACH_H

#include "kernels/backend.h"

void each_inl_dynamics(struct device *device, const struct inl_dynamics *args, int32_t rows,
                       int32_t cols);
void each_add_silu(struct device *device, float *x, const float *delta, int32_t rows, int32_t cols);
void each_clamp(struct device *device, float *x, float low, float high, int32_t rows, int32_t cols);
void each_mu_clamp(struct device *device, float *x, float mu, float low, float high, int32_t rows,
                   int32_t cols);

#endif
