/*
 * forward.h - what a model is made of, and the parts of a layer; private to worker/model/
 *
 * forward.c walks the layers: residual stream, norms, sums over ranks. What a layer computes
 * between them is one of the kinds of attention (forward_attention.c) and one of the kinds of MLP
 * (forward_mlp.c), named in its struct layer_spec.
 */
#ifndef WORKER_MODEL_FORWARD_H
#define WORKER_MODEL_FORWARD_H

#include "worker/model/weights.h"

/* Activations of one step on the device, all float. `rows` is max_rows; what the last layer's
 * second half uses has room for max_logits rows too. */
struct workspace {
    float *hidden;      /* [rows][hidden_size]: the residual stream */
    float *delta;       /* [rows][hidden_size]: what the next norm adds to it */
    float *normed;      /* [rows][hidden_size] */
    float *qkv;         /* [rows][q, k and v heads] */
    float *attn;        /* [rows][num_attention_heads * head_dim] */
    float *gate_up;     /* [rows][2 intermediate_size] */
    float *ffn;         /* [rows][intermediate_size] */
    float *beside;      /* [rows][hidden_size]: the MLP's, where attention's is in delta; or NULL */
    float *squares;     /* [rows][2]: of q and k, where a norm is over all heads; or NULL */
    float *last_hidden; /* [max_logits][hidden_size]: rows whose logits are wanted */
    float *last_attn;   /* [max_logits][num_attention_heads * head_dim] */
    float *last_normed; /* [max_logits][hidden_size]; NULL where the MLP has a norm of its own */
    float *logits;      /* [max_logits][vocab_size] */
    float *own_logits;  /* [max_logits][this rank's part]; NULL: one rank */
};

/* What experts compute in. Each row takes much of it, so that a step's rows go in parts. */
struct expert_space {
    int32_t rows; /* of a part, at most */
    struct moe_plan plan;
    float *logits;  /* [rows][num_experts] of the router */
    float *x;       /* [rows * top_k][hidden_size], by expert; then what experts make of it */
    float *gate_up; /* [rows * top_k][2 moe.intermediate_size] */
    float *ffn;     /* [rows * top_k][moe.intermediate_size] */
    float *shared_gate_up, *shared_ffn, *shared; /* of the shared expert */
    float *shared_gate;                          /* [rows] */
};

/* What attention over latents computes in. */
struct latent_space {
    float *q_low;    /* [rows][q_rank] */
    float *q;        /* [rows][heads (nope_dim + rope_dim)] */
    float *latents;  /* [rows][dim + rope_dim] */
    float *absorbed; /* [rows][heads (dim + rope_dim)]: q as the latents see it */
    float *mixed;    /* [rows][heads dim] */
};

/* What a token carries from layer to layer beside the stream. */
struct mu_space {
    float *mu_prev;         /* [rows][hidden_size] */
    float *qkv;             /* [rows][q, k and v heads]: mu's part */
    float *m, *v, *highway; /* [rows][hidden_size]: this layer's mu, velocity, sum of all m */
    float *last_v;          /* [max_logits][hidden_size]: the velocity of rows with logits */
    float *z, *z_of_v;      /* [rows][controller_size] */
    float *controller;      /* [rows][3 hidden_size] */
    float *nothing;         /* [hidden_size]: zeros */
    int32_t *table;         /* [vocab_size]: experts in turn, where the checkpoint has none */
    int32_t *zeros;         /* [rows]: the index of the one row that is repeated */
};

struct model {
    const struct backend *backend;
    struct device *device;
    const struct communicator *communicator; /* NULL: one rank */
    struct arch whole, arch;                 /* of the checkpoint; of this rank */
    int32_t max_len, max_rows, max_logits;
    uint64_t identity, stamp;
    struct model_weights weights;
    struct rope_table ropes[ARCH_MAX_ROPES];
    struct workspace workspace;
    struct expert_space experts;
    struct latent_space latent;
    struct mu_space mu;
    struct mu_clamp mu_clamp;
};

/* One layer of one step. The last layer's second half has other rows. */
struct pass {
    struct model *m;
    const struct layer_spec *spec;
    const struct layer_weights *w;
    struct kv_pool *pool;
    const int64_t *slots; /* of the layer's part */
    const struct attention_seq *seqs;
    const struct model_batch *batch;
    const int32_t *rows; /* which of the batch's rows they are; NULL: all of them */
    float *velocity;     /* [rows][hidden_size]; NULL: the model has none */
};

/*
 * From x [num_rows][hidden_size] to workspace.attn, what o_proj reads. K and V of all rows are
 * written; without `wanted` nothing else need be computed.
 */
typedef void attention_function(const struct pass *pass, const float *x, bool wanted);

/* From x [rows][hidden_size] to out [rows][hidden_size], this rank's part of the sum. */
typedef void mlp_function(const struct pass *pass, float *out, const float *x, int32_t rows);

extern attention_function *const attention_functions[]; /* by enum attention_kind */
extern mlp_function *const mlp_functions[];             /* by enum mlp_kind */

#endif
