/*
 * attention.h - how attention is cut into tiles, and tiles into spans
 */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/backend.h"

void attention_record(struct device *device, float *out, const float *qkv,
                      const struct kv_pool *pool, int32_t layer, int32_t num_heads,
                      const struct attention_form *form, const struct attention_seq *seqs,
                      int32_t num_seqs, int32_t rows);

#endif
