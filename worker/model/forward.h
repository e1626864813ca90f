/*
 * forward.h - what a model is made of; private to worker/model/
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
    float *last_hidden; /* [max_logits][hidden_size]: rows whose logits are wanted */
    float *last_attn;   /* [max_logits][num_attention_heads * head_dim] */
    float *logits;      /* [max_logits][vocab_size] */
    float *own_logits;  /* [max_logits][this rank's part]; NULL: one rank */
};

struct model {
    const struct backend *backend;
    struct device *device;
    const struct communicator *communicator; /* NULL: one rank */
    struct arch whole, arch;                 /* of the checkpoint; of this rank */
    int32_t max_len, max_rows, max_logits;
    uint64_t identity;
    struct model_weights weights;
    struct rope_table rope;
    struct workspace workspace;
};

#endif
