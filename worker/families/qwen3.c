/*
 * qwen3.c - Qwen3, dense (model_type "qwen3")
 *
 * Qwen2 whose biases gave way to a norm of each head of q and k before they are rotated; heads are
 * 128 wide whatever hidden_size is.
 *
 * Source: "Qwen3 Technical Report", arXiv:2505.09388; HF Qwen3Config.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_TOP, ROWS_NORMS, ROWS_ATTENTION(WHEN_ATTENTION_BIAS), ROWS_QK_NORM, ROWS_GATED_MLP,
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_window_behind(config, arch, err);
    if (r == 0)
        r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_qwen3 = {
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .defaults = "{\"num_key_value_heads\": 32, \"head_dim\": 128,"
                " \"max_position_embeddings\": 32768, \"sliding_window\": 4096,"
                " \"max_window_layers\": 28}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
