/*
 * gemma.c - Gemma 1, CodeGemma (model_type "gemma")
 *
 * Llama whose norms are stored as their distance from 1, whose MLP is gated by tanh-GELU (also
 * where the configuration says "gelu"), and whose embedding is multiplied by the root of
 * hidden_size.
 *
 * Source: "Gemma: Open Models", arXiv:2403.08295; HF GemmaConfig.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_GEMMA,
    ROW_NORM_PLUS_ONE("post_attention_layernorm.weight", IN_LAYER(mlp_norm)),
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    const char *newer = NULL;
    int r = config_text(config, "hidden_activation", &newer, err);
    if (r == 0)
        r = config_activation(config, newer != NULL ? "hidden_activation" : "hidden_act", arch,
                              err);
    if (arch->activation == ACTIVATION_GELU)
        arch->activation = ACTIVATION_GELU_TANH;
    if (r == 0)
        r = config_gemma(config, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_gemma = {
    .model_type = "gemma",
    .architecture = "GemmaForCausalLM",
    .defaults = "{\"num_key_value_heads\": 16, \"head_dim\": 256,"
                " \"max_position_embeddings\": 8192, \"hidden_act\": \"gelu_pytorch_tanh\","
                " \"tie_word_embeddings\": true}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
