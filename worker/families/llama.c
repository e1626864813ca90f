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
    ROWS_TOP,
    ROWS_NORMS,
    ROWS_ATTENTION(WHEN_ATTENTION_BIAS),
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
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
