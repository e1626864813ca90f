/*
 * gemma2.c - Gemma 2 (model_type "gemma2")
 *
 * Gemma 1 with a norm on both sides of attention and MLP, soft caps on scores and logits, a window
 * on every second layer, and scores scaled by query_pre_attn_scalar instead of head_dim.
 *
 * Source: "Gemma 2", arXiv:2408.00118; HF Gemma2Config.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_GEMMA,
    ROWS_GEMMA_NORMS,
};

/* Layers 0, 2, 4 ... */
static bool slides(int32_t layer, int32_t period)
{
    return layer % period == 0;
}

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_activation", arch, err);
    if (r == 0)
        r = config_gemma(config, arch, err);
    if (r == 0)
        r = config_windows(config, slides, 2, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_gemma2 = {
    .model_type = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .defaults = "{\"num_key_value_heads\": 4, \"head_dim\": 256,"
                " \"max_position_embeddings\": 8192,"
                " \"hidden_activation\": \"gelu_pytorch_tanh\", \"tie_word_embeddings\": true,"
                " \"query_pre_attn_scalar\": 256, \"sliding_window\": 4096,"
                " \"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": 30.0}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
