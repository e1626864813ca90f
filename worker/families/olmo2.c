/*
 * olmo2.c - OLMo 2 (model_type "olmo2")
 *
 * Llama whose norms stand behind attention and MLP, not before them, and which norms q and k over
 * all heads together before they are rotated.
 *
 * Source: "2 OLMo 2 Furious", arXiv:2501.00656; HF Olmo2Config and modeling_olmo2.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_TOP,
    ROWS_ATTENTION(WHEN_ATTENTION_BIAS),
    ROW_VECTOR("self_attn.q_norm.weight", IN_LAYER(q_norm), DIM_Q, WHEN_ALWAYS),
    ROW_VECTOR("self_attn.k_norm.weight", IN_LAYER(k_norm), DIM_KV, WHEN_ALWAYS),
    ROW_NORM("post_attention_layernorm.weight", IN_LAYER(attn_out_norm)),
    ROWS_GATED_MLP,
    ROW_NORM("post_feedforward_layernorm.weight", IN_LAYER(mlp_out_norm)),
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    arch->qk_norm_over_heads = true;
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_olmo2 = {
    .model_type = "olmo2",
    .architecture = "Olmo2ForCausalLM",
    .defaults = "{\"rms_norm_eps\": 1e-5}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
