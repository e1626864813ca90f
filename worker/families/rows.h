/*
 * rows.h - rows that many families have, under the names that Llama gave them
 *
 * Fused matrices have their rows in the order in which they lie: q, k, v; gate, up.
 */
#ifndef WORKER_FAMILIES_ROWS_H
#define WORKER_FAMILIES_ROWS_H

#include "worker/families/family.h"

/* clang-format off */

#define ROW_EMBED { "embed_tokens.weight", IN_MODEL(embed_tokens), DIM_VOCAB, DIM_HIDDEN, DIM_NONE, DIM_VOCAB }
#define ROW_HEAD                                                                                                       \
    { "lm_head.weight", IN_MODEL(lm_head), DIM_VOCAB_SHARE, DIM_HIDDEN, DIM_NONE, DIM_VOCAB_SHARE, WHEN_UNTIED }

/* Vectors: of hidden_size, stored as they are or less 1; of another dimension, when there. */
#define ROW_NORM(name, place) { name, place, DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN }
#define ROW_NORM_PLUS_ONE(name, place) { name, place, DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, .plus_one = true }
#define ROW_VECTOR(name, place, dim, when) { name, place, dim, DIM_NONE, DIM_NONE, dim, when }

/* A sum over ranks contains the bias once. */
#define ROW_OUT_BIAS(name, place, when) { name, place, DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, when, true }

#define ROWS_QKV                                                                                                       \
    { "self_attn.q_proj.weight", IN_LAYER(qkv_proj), DIM_Q, DIM_HIDDEN, DIM_NONE, DIM_QKV },                           \
    { "self_attn.k_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q, DIM_QKV },                             \
    { "self_attn.v_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q_KV, DIM_QKV }
#define ROWS_QKV_BIAS(when)                                                                                            \
    { "self_attn.q_proj.bias", IN_LAYER(qkv_bias), DIM_Q, DIM_NONE, DIM_NONE, DIM_QKV, when },                         \
    { "self_attn.k_proj.bias", IN_LAYER(qkv_bias), DIM_KV, DIM_NONE, DIM_Q, DIM_QKV, when },                           \
    { "self_attn.v_proj.bias", IN_LAYER(qkv_bias), DIM_KV, DIM_NONE, DIM_Q_KV, DIM_QKV, when }
#define ROW_O { "self_attn.o_proj.weight", IN_LAYER(o_proj), DIM_HIDDEN, DIM_Q, DIM_NONE, DIM_HIDDEN }

#define ROWS_GATED_MLP                                                                                                 \
    { "mlp.gate_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_NONE, DIM_GATE_UP },                    \
    { "mlp.up_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_FFN, DIM_GATE_UP },                       \
    ROW_DOWN
#define ROW_DOWN { "mlp.down_proj.weight", IN_LAYER(down_proj), DIM_HIDDEN, DIM_FFN, DIM_NONE, DIM_HIDDEN }
#define ROWS_GATED_MLP_BIAS(when)                                                                                      \
    { "mlp.gate_proj.bias", IN_LAYER(gate_up_bias), DIM_FFN, DIM_NONE, DIM_NONE, DIM_GATE_UP, when },                  \
    { "mlp.up_proj.bias", IN_LAYER(gate_up_bias), DIM_FFN, DIM_NONE, DIM_FFN, DIM_GATE_UP, when },                     \
    ROW_OUT_BIAS("mlp.down_proj.bias", IN_LAYER(down_bias), when)

/* clang-format on */

#endif
