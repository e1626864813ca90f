/*
 * phi.c - Phi-1, Phi-1.5, Phi-2 (model_type "phi")
 *
 * Attention and MLP read the same LayerNorm and are added to the stream together. Everything has a
 * bias, the output matrix too; the MLP has no gate; a part of each head is rotated.
 *
 * Source: "Textbooks Are All You Need II", arXiv:2309.05463; HF PhiConfig and modeling_phi.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROW_EMBED,
    ROW_NORM("final_layernorm.weight", IN_MODEL(norm)),
    ROW_NORM("final_layernorm.bias", IN_MODEL(norm_bias)),
    ROW_HEAD,
    ROW_VECTOR("lm_head.bias", IN_MODEL(lm_head_bias), DIM_VOCAB_SHARE, WHEN_ALWAYS),

    ROW_NORM("input_layernorm.weight", IN_LAYER(attn_norm)),
    ROW_NORM("input_layernorm.bias", IN_LAYER(attn_norm_bias)),
    ROWS_QKV,
    ROWS_QKV_BIAS(WHEN_ALWAYS),
    ROW_VECTOR("self_attn.q_layernorm.weight", IN_LAYER(q_norm), DIM_HEAD, WHEN_QK_LAYERNORM),
    ROW_VECTOR("self_attn.q_layernorm.bias", IN_LAYER(q_norm_bias), DIM_HEAD, WHEN_QK_LAYERNORM),
    ROW_VECTOR("self_attn.k_layernorm.weight", IN_LAYER(k_norm), DIM_HEAD, WHEN_QK_LAYERNORM),
    ROW_VECTOR("self_attn.k_layernorm.bias", IN_LAYER(k_norm_bias), DIM_HEAD, WHEN_QK_LAYERNORM),
    { "self_attn.dense.weight", IN_LAYER(o_proj), DIM_HIDDEN, DIM_Q, DIM_NONE, DIM_HIDDEN },
    ROW_OUT_BIAS("self_attn.dense.bias", IN_LAYER(o_bias), WHEN_ALWAYS),
    { "mlp.fc1.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_NONE, DIM_GATE_UP },
    ROW_VECTOR("mlp.fc1.bias", IN_LAYER(gate_up_bias), DIM_FFN, WHEN_ALWAYS),
    { "mlp.fc2.weight", IN_LAYER(down_proj), DIM_HIDDEN, DIM_FFN, DIM_NONE, DIM_HIDDEN },
    ROW_OUT_BIAS("mlp.fc2.bias", IN_LAYER(down_bias), WHEN_ALWAYS),
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    arch->parallel_residual = true;
    arch->plain_mlp = true;
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_bool(config, "qk_layernorm", &arch->qk_layernorm, err);
    return r < 0 ? r : config_rope(config, CONFIG_ROPE_PARTIAL, arch, err);
}

const struct family family_phi = {
    .model_type = "phi",
    .architecture = "PhiForCausalLM",
    .defaults = "{\"layer_norm_eps\": 1e-5, \"partial_rotary_factor\": 0.5,"
                " \"hidden_act\": \"gelu_new\"}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
