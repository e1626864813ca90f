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
    ROWS_TOP, ROWS_NORMS, ROWS_QKV, ROWS_QKV_BIAS(WHEN_ALWAYS), ROW_O, ROWS_GATED_MLP,
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_window_behind(config, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_qwen2 = {
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .defaults = "{\"num_key_value_heads\": 32, \"max_position_embeddings\": 32768,"
                " \"sliding_window\": 4096, \"max_window_layers\": 28}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
