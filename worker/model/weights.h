/*
 * weights.h - a model's weights on the device, placed by the rows of its family
 *
 * Every row is checked before anything is allocated: a tensor that is missing, of another shape
 * or dtype, or that no row asks for, stops the start with its name, what was found and what
 * was wanted. q, k and v become one matrix, gate and up another. Matrices keep the dtype of their
 * tensors; where those differ several are joined, and stand here as one. Quantized
 * matrices stay so, unless they lie transposed: then f32 holds what they mean. Norms and
 * biases are f32. A tensor may hold several parts of these matrices (q, k and v in one). A model
 * that is the text part of another has its names behind a prefix; the other parts are passed over.
 *
 * Of N ranks each loads its part (shard.h): sizes below are the rank's own. embed_tokens is whole
 * in each rank, so that a lookup needs no meeting; o_bias and down_bias are rank 0's, since the
 * sum over ranks contains them once.
 */
#ifndef WORKER_MODEL_WEIGHTS_H
#define WORKER_MODEL_WEIGHTS_H

#include "worker/model/checkpoint.h"
#include "worker/model/model.h"

struct family;

/* NULL where the model has none, or another kind of layer. A norm with a bias is a LayerNorm. */
struct layer_weights {
    float *attn_norm, *attn_norm_bias; /* [hidden_size]: of what attention reads */
    struct weight *qkv_proj;           /* [q heads, k heads, v heads][hidden_size] */
    float *qkv_bias;                   /* [q heads, k heads, v heads] */
    float *q_norm, *k_norm;            /* [head_dim], or over all heads [heads head_dim] */
    float *q_norm_bias, *k_norm_bias;  /* [head_dim] */
    /* Latents: qkv_proj is q alone, q_norm and k_norm are of the low rank and of the latent. */
    struct weight *q_a_proj, *kv_a_proj;
    float *q_a_bias, *kv_a_bias;
    struct weight *k_absorbed;   /* per head [latent.dim][nope_dim] */
    struct weight *v_absorbed;   /* per head [value_dim][latent.dim] */
    struct weight *o_proj;       /* [hidden_size][num_attention_heads * head_dim] */
    float *o_bias;               /* [hidden_size] */
    float *attn_out_norm;        /* [hidden_size]: of what attention adds to the stream */
    float *mlp_norm;             /* [hidden_size]: of what the MLP reads */
    struct weight *gate_up_proj; /* [2 intermediate_size][hidden_size]; plain: one of them */
    float *gate_up_bias;
    struct weight *down_proj; /* [hidden_size][intermediate_size] */
    float *down_bias;
    /* Experts: one block each. */
    struct weight *router; /* [num_experts][hidden_size] */
    float *router_bias;    /* [num_experts] */
    struct weight *experts_gate_up, *experts_down;
    struct weight *shared_gate_up_proj, *shared_down_proj, *shared_gate;
    /* mu */
    struct weight *mu_qkv_proj;                       /* as qkv_proj, of mu */
    float *mu;                                        /* [hidden_size] */
    struct weight *mu_proj;                           /* [hidden_size][hidden_size] */
    struct weight *controller_of_a, *controller_of_v; /* [controller_size][hidden_size] */
    struct weight *controller_out;                    /* [3 hidden_size][controller_size] */
    float *controller_bias, *controller_out_bias;
    int32_t *expert_table; /* [vocab_size] */
    float *mlp_out_norm;   /* [hidden_size]: of what the MLP adds to the stream */
};

struct model_weights {
    struct weight *embed_tokens; /* [vocab_size][hidden_size] */
    float *norm, *norm_bias;     /* [hidden_size] */
    struct weight *lm_head;      /* [the rank's part][hidden_size]; NULL: embed_tokens serves */
    float *lm_head_bias;         /* [the rank's part] */
    float *mu_init;              /* [hidden_size] */
    struct layer_weights *layers;
    int32_t num_layers;
    size_t bytes;        /* on the device */
    int32_t num_widened; /* quantized matrices that are kept as f32 */
    struct weight_store *store;
    bool is_attached; /* to what an earlier process loaded */
    bool used_direct; /* reads that pass the page cache by */
    int sealed_fd;    /* what was loaded, for a later process; -1: attached, or taken */
};

/*
 * Check against the whole model, and attach the options' kept_weights or load the rank's part.
 * Counts the bytes that it reads in the options' progress_bytes and total_bytes.
 *
 * Returns 0; -EINVAL, -ENOTSUP (a dtype), -ENOMEM, -EPROTO (what is kept is of no use), or the
 * errno of reading.
 */
int weights_load(const struct backend *backend, struct device *device,
                 const struct model_options *options, const struct arch *whole,
                 const struct arch *own, const struct family *family, struct checkpoint *checkpoint,
                 struct model_weights *ret_weights, struct error *err);

enum { WEIGHTS_NUM_DTYPES = DTYPE_I4 + 1 };

/* Check in the same way, and say what the rank's part will take of memory, by types. Errors as
 * above.
 */
int weights_measure(const struct arch *whole, const struct arch *own, const struct family *family,
                    struct checkpoint *checkpoint, const char *quantization,
                    size_t ret_bytes[WEIGHTS_NUM_DTYPES], struct error *err);

/* Accepts a zeroed or half-loaded struct. */
void weights_finish(const struct backend *backend, struct model_weights *weights);

#endif
