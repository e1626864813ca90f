/*
 * rope.h - tables of cos and sin for rotary positions
 *
 * inv_freq[i] = theta^(-2 i / rotary_dims), scaled as the configuration says; the entry of a
 * position is cos and sin of position * inv_freq[i] times the attention factor, computed in double.
 *
 * Longrope has two sets of factors, for texts within and beyond the length of training. Which of
 * them serves is decided once, by the longest text that this instance may see: what is cached of a
 * text must not change while it grows.
 *
 * Source: RoFormer, arXiv:2104.09864, section 3.4; YaRN, arXiv:2309.00071; LongRoPE,
 * arXiv:2402.13753; "linear" and "llama3" as in HF modeling_rope_utils.
 */
#ifndef WORKER_MODEL_ROPE_H
#define WORKER_MODEL_ROPE_H

#include "worker/model/model.h"

/* ret_inv_freq: [rotary_dims / 2] */
void rope_inv_freq(const struct rope_spec *spec, int32_t max_positions, double *ret_inv_freq);

/* What cos and sin are multiplied by; 1 without a scaling that wants it. */
double rope_attention_factor(const struct rope_spec *spec);

/*
 * Tables on the device for positions [0, max_positions), to be freed with rope_finish(). They may
 * be millions of cosines: as many threads as the device has share them out, each entry being
 * computed by itself.
 *
 * Returns 0 or -ENOMEM.
 */
int rope_init(const struct backend *backend, struct device *device, const struct rope_spec *spec,
              int32_t max_positions, struct rope_table *ret_rope, struct error *err);
void rope_finish(const struct backend *backend, struct device *device, struct rope_table *rope);

#endif
