/*
 * qwen_moe.c - Qwen1.5-MoE, Qwen2-57B-A14B (model_type "qwen2_moe"), Qwen3-30B-A3B, Qwen3-235B-A22B
 *              (model_type "qwen3_moe")
 *
 * Attention as in the dense models of the same number: Qwen2 has biases of q, k and v, Qwen3 norms
 * of each head of q and k. Experts stand in the layers that decoder_sparse_step and
 * mlp_only_layers leave; Qwen2 adds a shared expert, weighted by the sigmoid of a gate.
 *
 * Source: "Qwen2 Technical Report", arXiv:2407.10671, section 2.2.2; "Qwen3 Technical Report",
 * arXiv:2505.09388, section 2; HF Qwen2MoeConfig, Qwen3MoeConfig.
 */
#include "worker/families/moe_keys.h"
#include "worker/families/rows.h"
#include "worker/model/config.h"

/* clang-format off */
#define ROWS_OF_BOTH \
    ROWS_TOP, \
    ROWS_NORMS, \
    ROWS_QKV, \
    ROWS_QKV_BIAS(WHEN_ATTENTION_BIAS), \
    ROW_O, \
    ROWS_DENSE_MLP, \
    ROWS_EXPERTS

static const struct weight_row rows_qwen2[] = {
    ROWS_OF_BOTH,
    { "mlp.shared_expert.gate_proj.weight", IN_LAYER(shared_gate_up_proj), DIM_SHARED_FFN, DIM_HIDDEN, DIM_NONE, DIM_SHARED_GATE_UP, WHEN_SHARED_EXPERT },
    { "mlp.shared_expert.up_proj.weight", IN_LAYER(shared_gate_up_proj), DIM_SHARED_FFN, DIM_HIDDEN, DIM_SHARED_FFN, DIM_SHARED_GATE_UP, WHEN_SHARED_EXPERT },
    { "mlp.shared_expert.down_proj.weight", IN_LAYER(shared_down_proj), DIM_HIDDEN, DIM_SHARED_FFN, DIM_NONE, DIM_HIDDEN, WHEN_SHARED_EXPERT },
    { "mlp.shared_expert_gate.weight", IN_LAYER(shared_gate), DIM_ONE, DIM_HIDDEN, DIM_NONE, DIM_ONE, WHEN_SHARED_GATE },
};

static const struct weight_row rows_qwen3[] = {
    ROWS_OF_BOTH,
    ROW_OUT_BIAS("self_attn.o_proj.bias", IN_LAYER(o_bias), WHEN_ATTENTION_BIAS),
    ROWS_QK_NORM,
};
/* clang-format on */

/* Every second layer of the first max_window_layers. */
static bool slides(int32_t layer, int32_t max_window_layers)
{
    return layer % 2 == 0 && layer < max_window_layers;
}

/* Not as in the dense models, and each its own way; layer_types comes before both. */
static int read_windows(const json_t *config, bool everywhere, struct arch *arch, struct error *err)
{
    bool use_window = false;
    int32_t num = 0;
    int r = config_bool(config, "use_sliding_window", &use_window, err);
    if (r == 0)
        r = config_int(config, "max_window_layers", 0, INT32_MAX, &num, err);
    if (r < 0 || !use_window)
        return r;
    return everywhere ? config_window_everywhere(config, arch, err)
                      : config_windows(config, slides, num, arch, err);
}

static int read_both(const json_t *config, struct arch *arch, struct error *err)
{
    int r = moe_keys_narrow(config, "num_experts", "num_local_experts", arch, err);
    if (r == 0)
        r = moe_keys_layers(config, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

static int read_qwen2(const json_t *config, struct arch *arch, struct error *err)
{
    arch->attention_bias = true;
    arch->moe.shared_gate = true;
    int r = config_bool(config, "qkv_bias", &arch->attention_bias, err);
    if (r == 0)
        r = moe_keys_int(config, "shared_expert_intermediate_size", 1, MOE_KEYS_MAX_WIDTH,
                         &arch->moe.shared_intermediate_size, err);
    if (r == 0)
        r = read_windows(config, false, arch, err);
    return r < 0 ? r : read_both(config, arch, err);
}

static int read_qwen3(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    if (r == 0)
        r = read_windows(config, true, arch, err);
    return r < 0 ? r : read_both(config, arch, err);
}

const struct family family_qwen2_moe = {
    .model_type = "qwen2_moe",
    .architecture = "Qwen2MoeForCausalLM",
    .defaults = "{\"num_key_value_heads\": 16, \"max_position_embeddings\": 32768,"
                " \"num_experts_per_tok\": 4, \"sliding_window\": 4096, \"max_window_layers\": 28}",
    .prefixes = family_prefixes,
    ROWS_OF(rows_qwen2),
    .read_config = read_qwen2,
    .ignored = family_ignored,
};

const struct family family_qwen3_moe = {
    .model_type = "qwen3_moe",
    .architecture = "Qwen3MoeForCausalLM",
    .defaults = "{\"num_key_value_heads\": 4, \"max_position_embeddings\": 32768,"
                " \"num_experts_per_tok\": 8, \"sliding_window\": 4096, \"max_window_layers\": 28}",
    .prefixes = family_prefixes,
    ROWS_OF(rows_qwen3),
    .read_config = read_qwen3,
    .ignored = family_ignored,
};
