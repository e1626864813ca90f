/*
 * record.h - the operations of backend.h, as they are appended to a list
 */
#ifndef KERNELS_CUDA_RECORD_H
#define KERNELS_CUDA_RECORD_H

#include "kernels/cuda/device.h"

/* record.c */
void record_move_ids(struct device *, int32_t *to, const int32_t *from, const struct id_move *moves,
                     int32_t num);
void record_embed(struct device *, float *out, const struct weight *weight, float scale,
                  const int32_t *ids, int32_t rows);
void record_rms_norm(struct device *, float *out, float *x, const float *delta, const float *w,
                     float eps, int32_t rows, int32_t cols);
void record_layer_norm(struct device *, float *out, float *x, const float *delta, const float *w,
                       const float *bias, float eps, int32_t rows, int32_t cols);
void record_rope(struct device *, float *qkv, const struct qk_norm *norm,
                 const struct rope_table *rope, const int32_t *positions, const int64_t *slots,
                 struct kv_pool *pool, int32_t layer, int32_t num_heads, int32_t rows);
void record_latent(struct device *, const struct latent_write *args, int32_t rows);
void record_squares(struct device *, float *out, const float *qkv, int32_t q_cols, int32_t k_cols,
                    int32_t rows);
void record_activate(struct device *, float *out, const float *in, enum activation activation,
                     bool gated, int32_t rows, int32_t cols);
void record_soft_cap(struct device *, float *x, float cap, int32_t rows, int32_t cols);
void record_gather(struct device *, float *out, const float *x, const int32_t *indices, int32_t num,
                   int32_t cols);
void record_copy_blocks(struct device *, struct kv_pool *pool, const int32_t *from,
                        const int32_t *to, int32_t num);
void record_all_reduce(struct device *, const struct communicator *communicator, float *x,
                       int32_t rows, int32_t cols);
void record_all_gather(struct device *, const struct communicator *communicator, float *out,
                       const float *own, int32_t rows, int32_t total_cols);
void record_inl(struct device *, const struct inl_dynamics *args, int32_t rows, int32_t cols);
void record_add_silu(struct device *, float *x, const float *delta, int32_t rows, int32_t cols);
void record_clamp(struct device *, float *x, float low, float high, int32_t rows, int32_t cols);
void record_mu_clamp(struct device *, float *x, float mu, float low, float high, int32_t rows,
                     int32_t cols);

/* record_linear.c */
void record_linear(struct device *, float *out, const struct weight *weight, const float *bias,
                   const float *x, int32_t rows);
void record_heads(struct device *, const struct heads_linear *args, int32_t rows);
void record_moe_linear(struct device *, float *out, const struct weight *weight, int32_t out_dim,
                       const float *x, const struct moe_plan *plan, int32_t rows);
void record_route(struct device *, const struct moe_plan *plan, const float *logits,
                  const struct moe_routing *routing, int32_t rows);
void record_route_tokens(struct device *, const struct moe_plan *plan,
                         const struct moe_tokens *tokens, int32_t rows);
void record_combine(struct device *, float *out, const float *y, const struct moe_plan *plan,
                    const float *shared, const float *gate, int32_t rows, int32_t cols);

/* record_attention.c */
void record_attention(struct device *, float *out, const float *qkv, const struct kv_pool *pool,
                      int32_t layer, int32_t num_heads, const struct attention_form *form,
                      const struct attention_seq *seqs, int32_t num_seqs, int32_t rows);

/* record_sample.c */
void record_sample(struct device *, float *logits, int32_t num_vocab, const struct sample_row *rows,
                   int32_t num);

/* record.c: of what was sampled last */
void record_share_ids(struct device *);

#endif
