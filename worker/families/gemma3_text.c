/*
 * gemma3_text.c - Gemma 3, its text (model_type "gemma3_text"; the text part of "gemma3")
 *
 * Gemma 2 with a norm of each head of q and k instead of the soft caps. Five layers of six have a
 * window and positions of their own: theta 10000, never scaled.
 *
 * Source: "Gemma 3 Technical Report", arXiv:2503.19786; HF Gemma3TextConfig.
 */
#include <errno.h>

#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_GEMMA,
    { "self_attn.q_norm.weight", IN_LAYER(q_norm), DIM_HEAD, DIM_NONE, DIM_NONE, DIM_HEAD,
      .plus_one = true },
    { "self_attn.k_norm.weight", IN_LAYER(k_norm), DIM_HEAD, DIM_NONE, DIM_NONE, DIM_HEAD,
      .plus_one = true },
    ROWS_GEMMA_NORMS,
};

/* All but the last of each period. */
static bool slides(int32_t layer, int32_t period)
{
    return (layer + 1) % period != 0;
}

static int read_windows(const json_t *config, struct arch *arch, struct error *err)
{
    int32_t period = 6;
    int r = config_int(config, "_sliding_window_pattern", 1, INT32_MAX, &period, err);
    if (r == 0)
        r = config_int(config, "sliding_window_pattern", 1, INT32_MAX, &period, err);
    if (r == 0)
        r = config_windows(config, slides, period, arch, err);
    for (int32_t l = 0; r == 0 && l < arch->num_hidden_layers; l++)
        arch->layers[l].rope = arch->layers[l].window > 0;
    return r;
}

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_activation", arch, err);
    if (r == 0)
        r = config_gemma(config, arch, err);
    if (r == 0 && arch->attention_softcap > 0.0f) /* transformers reads it and does not apply it */
        return error_set(err, -ENOTSUP,
                         "config.json: attn_logit_softcapping is %g, supported is null",
                         (double)arch->attention_softcap);
    if (r == 0)
        r = read_windows(config, arch, err);
    return r < 0 ? r : config_rope_by_layer(config, 0, 1e6, 1e4, arch, err);
}

const struct family family_gemma3_text = {
    .model_type = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .wrapper = "gemma3",
    .defaults = "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216,"
                " \"num_hidden_layers\": 26, \"num_attention_heads\": 8,"
                " \"num_key_value_heads\": 4, \"head_dim\": 256,"
                " \"max_position_embeddings\": 131072,"
                " \"hidden_activation\": \"gelu_pytorch_tanh\", \"tie_word_embeddings\": true,"
                " \"query_pre_attn_scalar\": 256, \"sliding_window\": 4096}",
    .prefixes = family_wrapped_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
