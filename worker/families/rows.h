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

/* The three of the whole model, and the two norms of a layer. */
#define ROWS_TOP ROW_EMBED, ROW_NORM("norm.weight", IN_MODEL(norm)), ROW_HEAD
#define ROWS_NORMS                                                                                                     \
    ROW_NORM("input_layernorm.weight", IN_LAYER(attn_norm)),                                                           \
    ROW_NORM("post_attention_layernorm.weight", IN_LAYER(mlp_norm))

#define ROWS_QKV                                                                                                       \
    { "self_attn.q_proj.weight", IN_LAYER(qkv_proj), DIM_Q, DIM_HIDDEN, DIM_NONE, DIM_QKV },                           \
    { "self_attn.k_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q, DIM_QKV },                             \
    { "self_attn.v_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q_KV, DIM_QKV }
#define ROWS_QKV_BIAS(when)                                                                                            \
    { "self_attn.q_proj.bias", IN_LAYER(qkv_bias), DIM_Q, DIM_NONE, DIM_NONE, DIM_QKV, when },                         \
    { "self_attn.k_proj.bias", IN_LAYER(qkv_bias), DIM_KV, DIM_NONE, DIM_Q, DIM_QKV, when },                           \
    { "self_attn.v_proj.bias", IN_LAYER(qkv_bias), DIM_KV, DIM_NONE, DIM_Q_KV, DIM_QKV, when }
#define ROW_O { "self_attn.o_proj.weight", IN_LAYER(o_proj), DIM_HIDDEN, DIM_Q, DIM_NONE, DIM_HIDDEN }
#define ROWS_ATTENTION(bias)                                                                                           \
    ROWS_QKV, ROWS_QKV_BIAS(bias), ROW_O, ROW_OUT_BIAS("self_attn.o_proj.bias", IN_LAYER(o_bias), bias)
#define ROWS_QK_NORM                                                                                                   \
    ROW_VECTOR("self_attn.q_norm.weight", IN_LAYER(q_norm), DIM_HEAD, WHEN_ALWAYS),                                    \
    ROW_VECTOR("self_attn.k_norm.weight", IN_LAYER(k_norm), DIM_HEAD, WHEN_ALWAYS)

#define ROWS_GATED_MLP                                                                                                 \
    { "mlp.gate_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_NONE, DIM_GATE_UP },                    \
    { "mlp.up_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_FFN, DIM_GATE_UP },                       \
    ROW_DOWN
#define ROW_DOWN { "mlp.down_proj.weight", IN_LAYER(down_proj), DIM_HIDDEN, DIM_FFN, DIM_NONE, DIM_HIDDEN }
#define ROWS_GATED_MLP_BIAS(when)                                                                                      \
    { "mlp.gate_proj.bias", IN_LAYER(gate_up_bias), DIM_FFN, DIM_NONE, DIM_NONE, DIM_GATE_UP, when },                  \
    { "mlp.up_proj.bias", IN_LAYER(gate_up_bias), DIM_FFN, DIM_NONE, DIM_FFN, DIM_GATE_UP, when },                     \
    ROW_OUT_BIAS("mlp.down_proj.bias", IN_LAYER(down_bias), when)

/* Where some layers have experts: the dense ones, and the experts with their router. */
#define ROWS_DENSE_MLP                                                                                                 \
    { "mlp.gate_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_NONE, DIM_GATE_UP, WHEN_MLP_DENSE },    \
    { "mlp.up_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_FFN, DIM_GATE_UP, WHEN_MLP_DENSE },       \
    { "mlp.down_proj.weight", IN_LAYER(down_proj), DIM_HIDDEN, DIM_FFN, DIM_NONE, DIM_HIDDEN, WHEN_MLP_DENSE }
#define ROW_EXPERT(name, to, rows, cols, first, all)                                                                   \
    { name, IN_LAYER(to), rows, cols, first, all, WHEN_EXPERTS, .blocks = DIM_EXPERTS }
#define ROWS_EXPERTS                                                                                                   \
    { "mlp.gate.weight", IN_LAYER(router), DIM_EXPERTS, DIM_HIDDEN, DIM_NONE, DIM_EXPERTS, WHEN_EXPERTS },             \
    ROW_EXPERT("mlp.experts.%d.gate_proj.weight", experts_gate_up, DIM_EXPERT_FFN, DIM_HIDDEN, DIM_NONE, DIM_EXPERT_GATE_UP), \
    ROW_EXPERT("mlp.experts.%d.up_proj.weight", experts_gate_up, DIM_EXPERT_FFN, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_EXPERT_GATE_UP), \
    ROW_EXPERT("mlp.experts.%d.down_proj.weight", experts_down, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_NONE, DIM_HIDDEN)

/* Gemma's, but for the norms that the later ones have on both sides. */
#define ROWS_GEMMA                                                                                                     \
    ROW_EMBED, ROW_NORM_PLUS_ONE("norm.weight", IN_MODEL(norm)), ROW_HEAD,                                             \
    ROW_NORM_PLUS_ONE("input_layernorm.weight", IN_LAYER(attn_norm)), ROWS_ATTENTION(WHEN_ATTENTION_BIAS),             \
    ROWS_GATED_MLP
#define ROWS_GEMMA_NORMS                                                                                               \
    ROW_NORM_PLUS_ONE("post_attention_layernorm.weight", IN_LAYER(attn_out_norm)),                                     \
    ROW_NORM_PLUS_ONE("pre_feedforward_layernorm.weight", IN_LAYER(mlp_norm)),                                         \
    ROW_NORM_PLUS_ONE("post_feedforward_layernorm.weight", IN_LAYER(mlp_out_norm))

/* clang-format on */

/* The whole table, in a struct family. */
#define ROWS_OF(table) .rows = (table), .num_rows = sizeof(table) / sizeof((table)[0])

#endif
