/*
 * deep.c - Complexity-ML's DeepForCausalLM (model_type "complexity-deep", "complexity", "deep")
 *
 * A decoder with norms of q and k, whose tokens name the expert of their MLP, in two families that
 * share most names and differ in what they compute. In both a vector mu of each token runs down
 * the layers beside the stream, and adds to q, k and v.
 *
 *   A  attention's output goes through INL dynamics: a velocity, a small controller, and a mu of
 *      the same layer, which may also outvote the token's expert.
 *   B  mu is made of the stream behind the MLP; a shared expert may be added.
 *
 * The names of the tensors decide which it is, and which parts there are: version numbers lie.
 *
 * Source: Complexity-ML/complexity-deep, complexity_deep/models/modeling.py and
 * complexity_deep/core/.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "worker/families/moe_keys.h"
#include "worker/families/rows.h"
#include "worker/model/config.h"

/* clang-format off */
#define GATE(name, feature) { name, IN_LAYER(experts_gate_up), DIM_EXPERT_FFN, DIM_HIDDEN, DIM_NONE, DIM_EXPERT_GATE_UP, .blocks = DIM_EXPERTS, .turned = true, .needs = feature }
#define UP(name, feature) { name, IN_LAYER(experts_gate_up), DIM_EXPERT_FFN, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_EXPERT_GATE_UP, .blocks = DIM_EXPERTS, .turned = true, .needs = feature }
#define DOWN(name, feature) { name, IN_LAYER(experts_down), DIM_HIDDEN, DIM_EXPERT_FFN, DIM_NONE, DIM_HIDDEN, .blocks = DIM_EXPERTS, .turned = true, .needs = feature }

static const struct weight_row rows[] = {
    ROWS_TOP,
    { "mu_init", IN_MODEL(mu_init), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, .needs = FEATURE_MU_INIT },

    ROWS_NORMS,
    ROWS_QKV,
    ROW_O,
    { "self_attn.mu_to_q.weight", IN_LAYER(mu_qkv_proj), DIM_Q, DIM_HIDDEN, DIM_NONE, DIM_QKV, .needs = FEATURE_MU_QK },
    { "self_attn.mu_to_k.weight", IN_LAYER(mu_qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q, DIM_QKV, .needs = FEATURE_MU_QK },
    { "self_attn.mu_to_v.weight", IN_LAYER(mu_qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q_KV, DIM_QKV, .needs = FEATURE_MU_V },
    { "self_attn.q_norm.weight", IN_LAYER(q_norm), DIM_HEAD, DIM_NONE, DIM_NONE, DIM_HEAD, .needs = FEATURE_QK_NORM },
    { "self_attn.k_norm.weight", IN_LAYER(k_norm), DIM_HEAD, DIM_NONE, DIM_NONE, DIM_HEAD, .needs = FEATURE_QK_NORM },

    { "dynamics.mu", IN_LAYER(mu), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, .needs = FEATURE_DYNAMICS },
    { "dynamics.mu_proj.weight", IN_LAYER(mu_proj), DIM_HIDDEN, DIM_HIDDEN, DIM_NONE, DIM_HIDDEN, .needs = FEATURE_DYNAMICS | FEATURE_MU_PROJ },
    { "dynamics.controller_in.weight", IN_LAYER(controller_of_a), DIM_CONTROLLER, DIM_HIDDEN, DIM_NONE, DIM_CONTROLLER, .in_cols = DIM_HIDDEN_TWICE, .needs = FEATURE_CONTROLLER },
    { "dynamics.controller_in.weight", IN_LAYER(controller_of_v), DIM_CONTROLLER, DIM_HIDDEN, DIM_NONE, DIM_CONTROLLER, .in_cols = DIM_HIDDEN_TWICE, .from_col = DIM_HIDDEN, .needs = FEATURE_CONTROLLER },
    { "dynamics.controller_in.bias", IN_LAYER(controller_bias), DIM_CONTROLLER, DIM_NONE, DIM_NONE, DIM_CONTROLLER, .needs = FEATURE_CONTROLLER },
    { "dynamics.controller_out.weight", IN_LAYER(controller_out), DIM_HIDDEN_THRICE, DIM_CONTROLLER, DIM_NONE, DIM_HIDDEN_THRICE, .needs = FEATURE_CONTROLLER },
    { "dynamics.controller_out.bias", IN_LAYER(controller_out_bias), DIM_HIDDEN_THRICE, DIM_NONE, DIM_NONE, DIM_HIDDEN_THRICE, .needs = FEATURE_CONTROLLER },
    { "dynamics.controller.0.weight", IN_LAYER(controller_of_a), DIM_CONTROLLER, DIM_HIDDEN, DIM_NONE, DIM_CONTROLLER, .in_cols = DIM_HIDDEN_TWICE, .needs = FEATURE_OLD_CONTROLLER },
    { "dynamics.controller.0.weight", IN_LAYER(controller_of_v), DIM_CONTROLLER, DIM_HIDDEN, DIM_NONE, DIM_CONTROLLER, .in_cols = DIM_HIDDEN_TWICE, .from_col = DIM_HIDDEN, .needs = FEATURE_OLD_CONTROLLER },
    { "dynamics.controller.0.bias", IN_LAYER(controller_bias), DIM_CONTROLLER, DIM_NONE, DIM_NONE, DIM_CONTROLLER, .needs = FEATURE_OLD_CONTROLLER },
    { "dynamics.controller.2.weight", IN_LAYER(controller_out), DIM_HIDDEN_THRICE, DIM_CONTROLLER, DIM_NONE, DIM_HIDDEN_THRICE, .needs = FEATURE_OLD_CONTROLLER },
    { "dynamics.controller.2.bias", IN_LAYER(controller_out_bias), DIM_HIDDEN_THRICE, DIM_NONE, DIM_NONE, DIM_HIDDEN_THRICE, .needs = FEATURE_OLD_CONTROLLER },

    { "mu_guidance.mu", IN_LAYER(mu), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, .high = 2.0f, .needs = FEATURE_GUIDANCE },
    { "mu_guidance.mu_proj.weight", IN_LAYER(mu_proj), DIM_HIDDEN, DIM_HIDDEN, DIM_NONE, DIM_HIDDEN, .needs = FEATURE_GUIDANCE },

    ROWS_DENSE_MLP,
    { "mlp.gate_up_proj", IN_LAYER(experts_gate_up), DIM_EXPERT_FFN, DIM_HIDDEN, DIM_NONE, DIM_EXPERT_GATE_UP, .blocks = DIM_EXPERTS, .turned = true, .in_rows = DIM_EXPERT_GATE_UP, .needs = FEATURE_EXPERTS_FUSED },
    { "mlp.gate_up_proj", IN_LAYER(experts_gate_up), DIM_EXPERT_FFN, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_EXPERT_GATE_UP, .blocks = DIM_EXPERTS, .turned = true, .in_rows = DIM_EXPERT_GATE_UP, .from_row = DIM_EXPERT_FFN, .needs = FEATURE_EXPERTS_FUSED },
    DOWN("mlp.down_proj", FEATURE_EXPERTS_FUSED),
    GATE("mlp.gate_proj", FEATURE_EXPERTS_STACKED),
    UP("mlp.up_proj", FEATURE_EXPERTS_STACKED),
    DOWN("mlp.down_proj", FEATURE_EXPERTS_STACKED),
    GATE("mlp.gate_proj_w", FEATURE_EXPERTS_W),
    UP("mlp.up_proj_w", FEATURE_EXPERTS_W),
    DOWN("mlp.down_proj_w", FEATURE_EXPERTS_W),
    { "mlp.experts.%d.gate_proj.weight", IN_LAYER(experts_gate_up), DIM_EXPERT_FFN, DIM_HIDDEN, DIM_NONE, DIM_EXPERT_GATE_UP, .blocks = DIM_EXPERTS, .needs = FEATURE_EXPERTS_NAMED },
    { "mlp.experts.%d.up_proj.weight", IN_LAYER(experts_gate_up), DIM_EXPERT_FFN, DIM_HIDDEN, DIM_EXPERT_FFN, DIM_EXPERT_GATE_UP, .blocks = DIM_EXPERTS, .needs = FEATURE_EXPERTS_NAMED },
    { "mlp.experts.%d.down_proj.weight", IN_LAYER(experts_down), DIM_HIDDEN, DIM_EXPERT_FFN, DIM_NONE, DIM_HIDDEN, .blocks = DIM_EXPERTS, .needs = FEATURE_EXPERTS_NAMED },
    { "mlp.mu_router.weight", IN_LAYER(router), DIM_EXPERTS, DIM_HIDDEN, DIM_NONE, DIM_EXPERTS, .needs = FEATURE_MU_ROUTER },
    { "mlp.token_to_expert", IN_LAYER(expert_table), DIM_VOCAB, DIM_NONE, DIM_NONE, DIM_VOCAB, .table_below = DIM_EXPERTS, .needs = FEATURE_TABLE },
    { "mlp.shared_gate.weight", IN_LAYER(shared_gate_up_proj), DIM_SHARED_FFN, DIM_HIDDEN, DIM_NONE, DIM_SHARED_GATE_UP, .needs = FEATURE_SHARED },
    { "mlp.shared_up.weight", IN_LAYER(shared_gate_up_proj), DIM_SHARED_FFN, DIM_HIDDEN, DIM_SHARED_FFN, DIM_SHARED_GATE_UP, .needs = FEATURE_SHARED },
    { "mlp.shared_down.weight", IN_LAYER(shared_down_proj), DIM_HIDDEN, DIM_SHARED_FFN, DIM_NONE, DIM_HIDDEN, .needs = FEATURE_SHARED },
};
/* clang-format on */

/* Guidance that is off leaves its tensors behind. */
static const char *const ignored[] = { ".rotary_emb.inv_freq",
                                       ".harm_direction",
                                       ".num_clamped",
                                       ".total_processed",
                                       ".mu_to_q.weight",
                                       ".mu_to_k.weight",
                                       ".mu_to_v.weight",
                                       ".mu_guidance.mu",
                                       ".mu_guidance.mu_proj.weight",
                                       "mu_init",
                                       NULL };

static const char *const prefixes[] = { "model.", "", "module.model.", "module.", NULL };

/* Of other formats that carry the same names. */
static int refuse_others(const json_t *config, struct error *err)
{
    static const char *const keys[] = { "use_shared_routed_gates", "routed_output_scale",
                                        "shared_output_scale", "disable_pid_scaler" };
    const char *mlp = "token_routed";
    int32_t top_k = 1;
    int r = config_text(config, "mlp_type", &mlp, err);
    if (r == 0 && strcmp(mlp, "token_routed") != 0 && strcmp(mlp, "swiglu") != 0)
        return error_set(
            err, -ENOTSUP,
            "config.json: mlp_type is \"%.40s\", supported are token_routed and swiglu", mlp);
    if (r == 0)
        r = config_int(config, "top_k", 1, 1 << 20, &top_k, err);
    if (r == 0 && top_k > 1)
        return error_set(err, -ENOTSUP, "config.json: top_k is %d, supported is 1", top_k);
    for (size_t i = 0; r == 0 && i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_t *found = json_object_get(config, keys[i]);
        if (found != NULL && !json_is_null(found) && !json_is_false(found) &&
            !(json_is_number(found) && json_number_value(found) == 1.0))
            return error_set(err, -ENOTSUP, "config.json: %s is set, supported is a model without",
                             keys[i]);
    }
    return r;
}

static int read_experts(const json_t *config, struct arch *arch, struct error *err)
{
    const char *mlp = NULL;
    bool routed = true;
    int r = config_bool(config, "use_token_routed_mlp", &routed, err);
    if (r == 0)
        r = config_text(config, "mlp_type", &mlp, err);
    if (r == 0)
        r = config_int(config, "num_experts", 1, MOE_MAX_EXPERTS, &arch->moe.num_experts, err);
    if (r < 0)
        return r;
    arch->mu.of_framework = mlp != NULL;
    if ((mlp != NULL && strcmp(mlp, "swiglu") == 0) || !routed) {
        arch->moe.num_experts = 0;
        return 0;
    }
    arch->moe.top_k = 1;
    arch->moe.intermediate_size = arch->intermediate_size / arch->moe.num_experts;
    if (arch->moe.intermediate_size == 0)
        return error_set(err, -EINVAL,
                         "config.json: intermediate_size is %d, wanted at least the %d of "
                         "num_experts",
                         arch->intermediate_size, arch->moe.num_experts);
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        arch->layers[l].mlp = MLP_TOKEN_EXPERTS;
    return 0;
}

static int read_mu(const json_t *config, struct arch *arch, struct error *err)
{
    double dt = 0.1;
    bool guided = true, vetoed = false;
    int r = config_real(config, "dynamics_dt", 0.0, 1e3, &dt, err);
    if (r == 0)
        r = config_bool(config, "use_mu_projection", &guided, err);
    if (r == 0)
        r = config_bool(config, "use_mu_guidance", &guided, err);
    if (r == 0)
        r = config_bool(config, "disable_mu_guidance", &vetoed, err);
    arch->mu.dt = (float)dt;
    arch->mu.unguided = !guided || vetoed;
    return r;
}

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    arch->qk_norm_eps = 1e-6f;
    int r = refuse_others(config, err);
    if (r == 0)
        r = config_activation(config, "hidden_act", arch, err);
    if (r == 0)
        r = read_experts(config, arch, err);
    if (r == 0)
        r = read_mu(config, arch, err);
    if (r == 0)
        r = config_window_everywhere(config, arch, err);
    return r < 0 ? r : config_rope(config, 0, arch, err);
}

/* A tensor of layer 0, or of the model when `name` begins with a slash. */
static const struct checkpoint_tensor *find(const struct checkpoint *checkpoint, const char *name)
{
    const struct checkpoint_tensor *found = NULL;
    const bool in_model = name[0] == '/';
    for (const char *const *prefix = prefixes; found == NULL && *prefix != NULL; prefix++) {
        char whole[128];
        snprintf(whole, sizeof(whole), "%s%s%s", *prefix, in_model ? "" : "layers.0.",
                 in_model ? name + 1 : name);
        found = checkpoint_find(checkpoint, whole);
    }
    return found;
}

static uint32_t features_of(const struct checkpoint *checkpoint)
{
    static const struct {
        const char *name;
        uint32_t feature;
    } marks[] = {
        { "dynamics.mu", FEATURE_DYNAMICS },
        { "dynamics.mu_proj.weight", FEATURE_MU_PROJ },
        { "dynamics.controller_in.weight", FEATURE_CONTROLLER },
        { "dynamics.controller.0.weight", FEATURE_OLD_CONTROLLER },
        { "mu_guidance.mu", FEATURE_GUIDANCE },
        { "/mu_init", FEATURE_MU_INIT },
        { "self_attn.mu_to_q.weight", FEATURE_MU_QK },
        { "self_attn.mu_to_v.weight", FEATURE_MU_V },
        { "self_attn.q_norm.weight", FEATURE_QK_NORM },
        { "mlp.mu_router.weight", FEATURE_MU_ROUTER },
        { "mlp.token_to_expert", FEATURE_TABLE },
        { "mlp.shared_gate.weight", FEATURE_SHARED },
        { "mlp.gate_up_proj", FEATURE_EXPERTS_FUSED },
        { "mlp.gate_proj", FEATURE_EXPERTS_STACKED },
        { "mlp.gate_proj_w", FEATURE_EXPERTS_W },
        { "mlp.experts.0.gate_proj.weight", FEATURE_EXPERTS_NAMED },
    };
    uint32_t features = 0;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (find(checkpoint, marks[i].name) != NULL)
            features |= marks[i].feature;
    return features;
}

/* The number of rows of a matrix that config.json does not tell. */
static int read_rows(const struct checkpoint *checkpoint, const char *name, int32_t *ret_rows,
                     struct error *err)
{
    enum { MOST = 1 << 18 };
    const struct checkpoint_tensor *tensor = find(checkpoint, name);
    if (tensor == NULL || tensor->info->rank != 2 || tensor->info->shape[0] < 1 ||
        tensor->info->shape[0] > MOST)
        return error_set(err, -EINVAL, "tensor %s of layer 0 is no matrix of 1 to %d rows", name,
                         MOST);
    *ret_rows = (int32_t)tensor->info->shape[0];
    return 0;
}

/* Family A: the dynamics; without a controller there is nothing to compute. */
static int probe_dynamics(const struct checkpoint *checkpoint, struct arch *arch, struct error *err)
{
    const uint32_t controllers = FEATURE_CONTROLLER | FEATURE_OLD_CONTROLLER;
    const uint32_t late = FEATURE_EXPERTS_NAMED | FEATURE_MU_PROJ;
    if (arch->mu.of_framework || arch->mu.unguided || (arch->features & late) == late)
        return error_set(err, -ENOTSUP,
                         "tensor dynamics.mu of layer 0 beside %s: models of complexity-framework "
                         "with dynamics are not supported, they compute mu and velocity otherwise",
                         arch->mu.of_framework ? "an mlp_type in config.json"
                         : arch->mu.unguided   ? "guidance that config.json disables"
                                               : "mlp.experts.0.gate_proj.weight and mu_proj");
    if ((arch->features & controllers) == 0 || (arch->features & controllers) == controllers)
        return error_set(err, -EINVAL,
                         "tensor dynamics.controller_in.weight of layer 0 is missing, or there "
                         "twice under its old name");
    arch->mu.kind = MU_DYNAMICS;
    arch->mu.highway = (arch->features & FEATURE_MU_V) != 0;
    arch->features &= ~(uint32_t)(FEATURE_GUIDANCE | FEATURE_MU_INIT | FEATURE_SHARED);
    return read_rows(checkpoint,
                     arch->features & FEATURE_CONTROLLER ? "dynamics.controller_in.weight"
                                                         : "dynamics.controller.0.weight",
                     &arch->mu.controller_size, err);
}

static void probe_guidance(struct arch *arch)
{
    const uint32_t needed = FEATURE_GUIDANCE | FEATURE_MU_INIT | FEATURE_MU_QK | FEATURE_MU_V;
    arch->activation = ACTIVATION_SILU;
    arch->features &= ~(uint32_t)FEATURE_MU_ROUTER;
    arch->mu.kind = MU_NONE;
    if (arch->mu.unguided || (arch->features & (FEATURE_GUIDANCE | FEATURE_MU_INIT)) == 0) {
        arch->features &= ~needed;
        return;
    }
    arch->mu.kind = MU_GUIDANCE;
    arch->features |= needed; /* what is missing is named by the loader */
}

static int probe(const struct checkpoint *checkpoint, struct arch *arch, struct error *err)
{
    const uint32_t experts =
        FEATURE_EXPERTS_FUSED | FEATURE_EXPERTS_STACKED | FEATURE_EXPERTS_W | FEATURE_EXPERTS_NAMED;
    const uint32_t routed = experts | FEATURE_MU_ROUTER | FEATURE_TABLE | FEATURE_SHARED;
    arch->features = features_of(checkpoint);
    if (arch->moe.num_experts == 0)
        arch->features &= ~routed;
    else if ((arch->features & experts) == 0)
        return error_set(err, -EINVAL,
                         "tensors of experts in layer 0 are missing, wanted by "
                         "use_token_routed_mlp");
    int r = 0;
    if ((arch->features & FEATURE_DYNAMICS) != 0)
        r = probe_dynamics(checkpoint, arch, err);
    else
        probe_guidance(arch);
    if (r == 0 && (arch->features & FEATURE_SHARED) != 0)
        r = read_rows(checkpoint, "mlp.shared_gate.weight", &arch->moe.shared_intermediate_size,
                      err);
    return r;
}

static const char *const aliases[] = { "complexity", "deep", NULL };

const struct family family_deep = {
    .model_type = "complexity-deep",
    .aliases = aliases,
    .architecture = "DeepForCausalLM",
    .defaults = "{\"vocab_size\": 100000, \"hidden_size\": 768, \"intermediate_size\": 2048,"
                " \"num_hidden_layers\": 12, \"num_attention_heads\": 12,"
                " \"num_key_value_heads\": 4, \"max_position_embeddings\": 2048,"
                " \"num_experts\": 4, \"tie_word_embeddings\": true}",
    .prefixes = prefixes,
    ROWS_OF(rows),
    .read_config = read_config,
    .probe = probe,
    .ignored = ignored,
};
