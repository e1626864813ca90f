/*
 * qwen2.c - Qwen 1.5, 2 and 2.5, QwQ, their distillates (model_type "qwen2")
 *
 * Llama with biases on q, k and v (always) and none on o. sliding_window stands in every
 * configuration and counts only with use_sliding_window.
 *
 * Source: "Qwen2 Technical Report", arXiv:2407.10671; HF Qwen2Config.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROW_EMBED,
    ROW_NORM("norm.weight", IN_MODEL(norm)),
    ROW_HEAD,

    ROW_NORM("input_layernorm.weight", IN_LAYER(attn_norm)),
    ROWS_QKV,
    ROWS_QKV_BIAS(WHEN_ALWAYS),
    ROW_O,
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
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_qwen2 = {
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .defaults = "{\"num_key_value_heads\": 32, \"max_position_embeddings\": 32768,"
                " \"sliding_window\": 4096, \"max_window_layers\": 28}",
    .prefixes = family_prefixes,
    .rows = rows,
    .num_rows = sizeof(rows) / sizeof(rows[0]),
    .read_config = read_config,
    .ignored = family_ignored,
};
