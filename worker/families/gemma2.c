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
    ROW_EMBED,
    ROW_NORM_PLUS_ONE("norm.weight", IN_MODEL(norm)),
    ROW_HEAD,

    ROW_NORM_PLUS_ONE("input_layernorm.weight", IN_LAYER(attn_norm)),
    ROWS_QKV,
    ROWS_QKV_BIAS(WHEN_ATTENTION_BIAS),
    ROW_O,
    ROW_OUT_BIAS("self_attn.o_proj.bias", IN_LAYER(o_bias), WHEN_ATTENTION_BIAS),
    ROW_NORM_PLUS_ONE("post_attention_layernorm.weight", IN_LAYER(attn_out_norm)),
    ROW_NORM_PLUS_ONE("pre_feedforward_layernorm.weight", IN_LAYER(mlp_norm)),
    ROWS_GATED_MLP,
    ROW_NORM_PLUS_ONE("post_feedforward_layernorm.weight", IN_LAYER(mlp_out_norm)),
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
        r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    if (r == 0)
        r = config_scores(config, arch, err);
    if (r == 0)
        r = config_windows(config, slides, 2, arch, err);
    if (r == 0)
        r = config_refuse_bidirectional(config, err);
    config_scale_embedding(arch);
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
    .rows = rows,
    .num_rows = sizeof(rows) / sizeof(rows[0]),
    .read_config = read_config,
    .ignored = family_ignored,
};
