/*
 * mistral.c - Mistral 7B, Nemo, Small (model_type "mistral"; the text part of "mistral3")
 *
 * Llama without biases, with a window on every layer unless sliding_window is null: where the key
 * is absent it is 4096. Heads may be narrower than hidden_size / num_attention_heads (Nemo).
 *
 * Source: "Mistral 7B", arXiv:2310.06825; HF MistralConfig.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_TOP, ROWS_NORMS, ROWS_QKV, ROW_O, ROWS_GATED_MLP,
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_window_everywhere(config, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_mistral = {
    .model_type = "mistral",
    .architecture = "MistralForCausalLM",
    .wrapper = "mistral3",
    .defaults = "{\"num_key_value_heads\": 8, \"max_position_embeddings\": 131072,"
                " \"sliding_window\": 4096}",
    .prefixes = family_wrapped_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
