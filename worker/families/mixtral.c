/*
 * mixtral.c - Mixtral 8x7B, 8x22B (model_type "mixtral")
 *
 * Mistral's attention; every MLP is experts, of which a row uses the best by softmax, weighted by
 * their scores over the sum of these. intermediate_size is one expert's.
 *
 * Source: "Mixtral of Experts", arXiv:2401.04088, section 2; HF MixtralConfig.
 */
#include "worker/families/moe_keys.h"
#include "worker/families/rows.h"
#include "worker/model/config.h"

/* clang-format off */
static const struct weight_row rows[] = {
    ROWS_TOP,
    ROWS_NORMS,
    ROWS_QKV,
    ROW_O,
    { "block_sparse_moe.gate.weight", IN_LAYER(router), DIM_EXPERTS, DIM_HIDDEN, DIM_NONE, DIM_EXPERTS },
    ROW_EXPERT("block_sparse_moe.experts.%d.w1.weight", experts_gate_up, DIM_EXPERT_FFN, DIM_HIDDEN, DIM_NONE, DIM_EXPERT_GATE_UP),
    ROW_EXPERT("block_sparse_moe.experts.%d.w3.weight", experts_gate_up, DIM_EXPERT_FFN, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_EXPERT_GATE_UP),
    ROW_EXPERT("block_sparse_moe.experts.%d.w2.weight", experts_down, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_NONE, DIM_HIDDEN),
};
/* clang-format on */

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    int r = moe_keys_activation(config, err);
    if (r == 0)
        r = moe_keys_experts(config, "num_local_experts", NULL, arch, err);
    arch->moe.intermediate_size = arch->intermediate_size;
    arch->moe.routing.scores = MOE_SOFTMAX;
    arch->moe.routing.normalize = true;
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        arch->layers[l].mlp = MLP_EXPERTS;
    if (r == 0)
        r = config_window_everywhere(config, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

const struct family family_mixtral = {
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .defaults =
        "{\"num_key_value_heads\": 8, \"num_local_experts\": 8, \"num_experts_per_tok\": 2,"
        " \"max_position_embeddings\": 131072, \"rope_theta\": 1e6, \"rms_norm_eps\": 1e-5}",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .ignored = family_ignored,
};
