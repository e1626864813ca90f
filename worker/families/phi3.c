/*
 * phi3.c - Phi-3, Phi-3.5, Phi-4, Phi-4-mini (model_type "phi3")
 *
 * Llama with q, k and v in one tensor and gate and up in another. Long contexts by longrope, whose
 * older names are "su" and "yarn"; Phi-4-mini rotates three quarters of each head.
 *
 * Source: "Phi-3 Technical Report", arXiv:2404.14219; HF Phi3Config.
 */
#include "worker/families/rows.h"
#include "worker/model/config.h"

static const struct weight_row rows[] = {
    ROWS_TOP,
    ROWS_NORMS,
    { "self_attn.qkv_proj.weight", IN_LAYER(qkv_proj), DIM_Q, DIM_HIDDEN, DIM_NONE, DIM_QKV,
      .in_rows = DIM_QKV, .from_row = DIM_NONE },
    { "self_attn.qkv_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q, DIM_QKV,
      .in_rows = DIM_QKV, .from_row = DIM_Q },
    { "self_attn.qkv_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q_KV, DIM_QKV,
      .in_rows = DIM_QKV, .from_row = DIM_Q_KV },
    ROW_O,
    { "mlp.gate_up_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_NONE, DIM_GATE_UP,
      .in_rows = DIM_GATE_UP, .from_row = DIM_NONE },
    { "mlp.gate_up_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_FFN, DIM_GATE_UP,
      .in_rows = DIM_GATE_UP, .from_row = DIM_FFN },
    ROW_DOWN,
};

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = config_window_everywhere(config, arch, err);
    return r < 0 ? r : config_rope(config, CONFIG_ROPE_PARTIAL | CONFIG_ROPE_LONG, arch, err);
}

const struct family family_phi3 = {
    .model_type = "phi3",
    .architecture = "Phi3ForCausalLM",
    .defaults = "{\"max_position_embeddings\": 4096, \"original_max_position_embeddings\": 4096,"
                " \"rms_norm_eps\": 1e-5}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
