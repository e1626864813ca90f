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
    ROW_EMBED,
    ROW_NORM("norm.weight", IN_MODEL(norm)),
    ROW_HEAD,

    ROW_NORM("input_layernorm.weight", IN_LAYER(attn_norm)),
    ROWS_QKV,
    ROWS_QKV_BIAS(WHEN_ATTENTION_BIAS),
    ROW_VECTOR("self_attn.q_norm.weight", IN_LAYER(q_norm), DIM_HEAD, WHEN_ALWAYS),
    ROW_VECTOR("self_attn.k_norm.weight", IN_LAYER(k_norm), DIM_HEAD, WHEN_ALWAYS),
    ROW_O,
    ROW_OUT_BIAS("self_attn.o_proj.bias", IN_LAYER(o_bias), WHEN_ATTENTION_BIAS),
    ROW_NORM("post_attention_layernorm.weight", IN_LAYER(mlp_norm)),
    ROWS_GATED_MLP,
};

/* Layers from max_window_layers on, and only where use_sliding_window is true. */
static bool slides(int32_t layer, int32_t max_window_layers)
{
    return layer >= max_window_layers;
}

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    bool use_window = false;
    int32_t first = 0;
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_bool(config, "use_sliding_window", &use_window, err);
    if (r == 0)
        r = config_int(config, "max_window_layers", 0, INT32_MAX, &first, err);
    if (r == 0 && use_window)
        r = config_windows(config, slides, first, arch, err);
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
    .rows = rows,
    .num_rows = sizeof(rows) / sizeof(rows[0]),
    .read_config = read_config,
    .ignored = family_ignored,
};
