/*
 * rope.h - tables of cos and sin for rotary positions
 *
 * inv_freq[i] = theta^(-2 i / rotary_dims), scaled as the configuration says; the entry of a
 * position is cos and sin of position * inv_freq[i], computed in double.
 *
 * Source: RoFormer, arXiv:2104.09864, section 3.4; "linear" and "llama3" as in HF
 * modeling_rope_utils.
 */
#ifndef WORKER_MODEL_ROPE_H
#define WORKER_MODEL_ROPE_H

#include "worker/model/model.h"

/* ret_inv_freq: [rotary_dims / 2] */
void rope_inv_freq(const struct rope_spec *spec, double *ret_inv_freq);

/*
 * Tables on the device for positions [0, max_positions), to be freed with rope_finish().
 *
 * Returns 0 or -ENOMEM.
 */
int rope_init(const struct backend *backend, struct device *device, const struct rope_spec *spec,
              int32_t max_positions, struct rope_table *ret_rope, struct error *err);
void rope_finish(const struct backend *backend, struct device *device, struct rope_table *rope);

#endif
