/*
 * llama.c - Llama 2 and 3, CodeLlama, SmolLM2 (model_type "llama")
 *
 * The common pre-norm decoder itself: RMSNorm, grouped-query attention with rotary positions in
 * half style over the whole head, SiLU-gated MLP, sequential residuals. Biases exist only where
 * the configuration asks for them, and then on o_proj too.
 *
 * Source: "The Llama 3 Herd of Models", arXiv:2407.21783, section 3.2; HF LlamaConfig.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROW_EMBED,
    ROW_NORM("norm.weight", IN_MODEL(norm)),
    ROW_HEAD,

    ROW_NORM("input_layernorm.weight", IN_LAYER(attn_norm)),
    ROWS_QKV,
    ROW_O,
    ROWS_QKV_BIAS(WHEN_ATTENTION_BIAS),
    ROW_OUT_BIAS("self_attn.o_proj.bias", IN_LAYER(o_bias), WHEN_ATTENTION_BIAS),
    ROW_NORM("post_attention_layernorm.weight", IN_LAYER(mlp_norm)),
    ROWS_GATED_MLP,
    ROWS_GATED_MLP_BIAS(WHEN_MLP_BIAS),
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    if (r == 0)
        r = config_bool(config, "mlp_bias", &arch->mlp_bias, err);
    if (r == 0)
        r = config_rope(config, 0, arch, err);
    return r;
}

const struct family family_llama = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .prefixes = family_prefixes,
    .rows = rows,
    .num_rows = sizeof(rows) / sizeof(rows[0]),
    .read_config = read_config,
    .ignored = family_ignored,
};
