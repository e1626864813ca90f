/*
 * deepseek.c - DeepSeek-V2, V2-Lite (model_type "deepseek_v2"), V3, R1 (model_type "deepseek_v3")
 *
 * Attention keeps one latent per position, from which each head's keys and values follow; q may be
 * made through a low rank too. The first layers' MLPs are dense, the others' are experts: V2
 * chooses them by softmax, also within the groups of the best expert; V3 by sigmoid, with a bias
 * that counts for the choice alone, within the groups of the best two. Shared experts, one MLP of
 * their widths together, are added.
 *
 * Source: "DeepSeek-V2", arXiv:2405.04434, section 2; "DeepSeek-V3 Technical Report",
 * arXiv:2412.19437, section 2.1; HF DeepseekV2Config, DeepseekV3Config.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "worker/families/moe_keys.h"
#include "worker/families/rows.h"
#include "worker/model/config.h"

/* clang-format off */
static const struct weight_row rows[] = {
    ROWS_TOP,
    ROWS_NORMS,
    { "self_attn.q_proj.weight", IN_LAYER(qkv_proj), DIM_LATENT_Q, DIM_HIDDEN, DIM_NONE, DIM_LATENT_Q, .needs = FEATURE_Q_WHOLE },
    { "self_attn.q_a_proj.weight", IN_LAYER(q_a_proj), DIM_Q_RANK, DIM_HIDDEN, DIM_NONE, DIM_Q_RANK, .needs = FEATURE_Q_RANK },
    { "self_attn.q_a_proj.bias", IN_LAYER(q_a_bias), DIM_Q_RANK, DIM_NONE, DIM_NONE, DIM_Q_RANK, WHEN_ATTENTION_BIAS, .needs = FEATURE_Q_RANK },
    { "self_attn.q_a_layernorm.weight", IN_LAYER(q_norm), DIM_Q_RANK, DIM_NONE, DIM_NONE, DIM_Q_RANK, .needs = FEATURE_Q_RANK },
    { "self_attn.q_b_proj.weight", IN_LAYER(qkv_proj), DIM_LATENT_Q, DIM_Q_RANK, DIM_NONE, DIM_LATENT_Q, .needs = FEATURE_Q_RANK },
    { "self_attn.kv_a_proj_with_mqa.weight", IN_LAYER(kv_a_proj), DIM_LATENT_KEY, DIM_HIDDEN, DIM_NONE, DIM_LATENT_KEY },
    { "self_attn.kv_a_proj_with_mqa.bias", IN_LAYER(kv_a_bias), DIM_LATENT_KEY, DIM_NONE, DIM_NONE, DIM_LATENT_KEY, WHEN_ATTENTION_BIAS },
    { "self_attn.kv_a_layernorm.weight", IN_LAYER(k_norm), DIM_LATENT, DIM_NONE, DIM_NONE, DIM_LATENT },
    { "self_attn.kv_b_proj.weight", IN_LAYER(k_absorbed), DIM_LATENT, DIM_NOPE, DIM_NONE, DIM_LATENT, .blocks = DIM_HEADS, .lie = LIES_FLAT, .turned = true, .in_cols = DIM_NOPE_VALUE, .needs = FEATURE_KV_WHOLE },
    { "self_attn.kv_b_proj.weight", IN_LAYER(v_absorbed), DIM_VALUE, DIM_LATENT, DIM_NONE, DIM_VALUE, .blocks = DIM_HEADS, .lie = LIES_FLAT, .in_rows = DIM_NOPE_VALUE, .from_row = DIM_NOPE, .needs = FEATURE_KV_WHOLE },
    { "self_attn.k_b_proj.weight", IN_LAYER(k_absorbed), DIM_LATENT, DIM_NOPE, DIM_NONE, DIM_LATENT, .blocks = DIM_HEADS, .lie = LIES_STACKED, .needs = FEATURE_KV_SPLIT },
    { "self_attn.v_b_proj.weight", IN_LAYER(v_absorbed), DIM_VALUE, DIM_LATENT, DIM_NONE, DIM_VALUE, .blocks = DIM_HEADS, .lie = LIES_STACKED, .needs = FEATURE_KV_SPLIT },
    { "self_attn.o_proj.weight", IN_LAYER(o_proj), DIM_HIDDEN, DIM_ATTN, DIM_NONE, DIM_HIDDEN },
    ROW_OUT_BIAS("self_attn.o_proj.bias", IN_LAYER(o_bias), WHEN_ATTENTION_BIAS),
    ROWS_DENSE_MLP,
    { "mlp.gate.e_score_correction_bias", IN_LAYER(router_bias), DIM_EXPERTS, DIM_NONE, DIM_NONE, DIM_EXPERTS, WHEN_ROUTER_BIAS },
    ROWS_EXPERTS,
    { "mlp.shared_experts.gate_proj.weight", IN_LAYER(shared_gate_up_proj), DIM_SHARED_FFN, DIM_HIDDEN, DIM_NONE, DIM_SHARED_GATE_UP, WHEN_SHARED_EXPERT },
    { "mlp.shared_experts.up_proj.weight", IN_LAYER(shared_gate_up_proj), DIM_SHARED_FFN, DIM_HIDDEN, DIM_SHARED_FFN, DIM_SHARED_GATE_UP, WHEN_SHARED_EXPERT },
    { "mlp.shared_experts.down_proj.weight", IN_LAYER(shared_down_proj), DIM_HIDDEN, DIM_SHARED_FFN, DIM_NONE, DIM_HIDDEN, WHEN_SHARED_EXPERT },
};
/* clang-format on */

enum { MAX_RANK = 1 << 16, MAX_HEAD = 1024, MAX_WIDTH = 1 << 20, MAX_KEY = 576 };

static int read_latents(const json_t *config, struct arch *arch, struct error *err)
{
    const struct {
        const char *key;
        int32_t min, max, *value;
    } keys[] = {
        { "kv_lora_rank", 1, MAX_RANK, &arch->latent.dim },
        { "qk_nope_head_dim", 1, MAX_HEAD, &arch->latent.nope_dim },
        { "qk_rope_head_dim", 2, MAX_HEAD, &arch->latent.rope_dim },
        { "v_head_dim", 1, MAX_HEAD, &arch->latent.value_dim },
    };
    int r = config_int(config, "q_lora_rank", 1, MAX_RANK, &arch->latent.q_rank, err);
    for (size_t i = 0; r == 0 && i < sizeof(keys) / sizeof(keys[0]); i++)
        r = moe_keys_int(config, keys[i].key, keys[i].min, keys[i].max, keys[i].value, err);
    if (r < 0)
        return r;
    if (arch->latent.rope_dim % 2 != 0)
        return error_set(err, -EINVAL, "config.json: qk_rope_head_dim is %d, wanted an even number",
                         arch->latent.rope_dim);
    const int64_t key = (int64_t)arch->latent.dim + arch->latent.rope_dim;
    if (key > MAX_KEY)
        return error_set(err, -ENOTSUP,
                         "config.json: kv_lora_rank and qk_rope_head_dim are %d and %d, supported "
                         "are %d together",
                         arch->latent.dim, arch->latent.rope_dim, MAX_KEY);
    const int64_t head = (int64_t)arch->latent.nope_dim + arch->latent.rope_dim;
    const int64_t width = arch->num_attention_heads * (key > head ? key : head);
    if (width > MAX_WIDTH)
        return error_set(err, -EINVAL,
                         "config.json: num_attention_heads is %d, wanted at most %d values in all "
                         "heads, each of kv_lora_rank + qk_rope_head_dim",
                         arch->num_attention_heads, MAX_WIDTH);
    return 0;
}

static int read_attention(const json_t *config, struct arch *arch, struct error *err)
{
    int r = read_latents(config, arch, err);
    if (r == 0)
        r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    if (r < 0)
        return r;
    arch->features |= arch->latent.q_rank > 0 ? FEATURE_Q_RANK : FEATURE_Q_WHOLE;
    arch->head_dim = arch->latent.rope_dim; /* what is rotated */
    arch->num_key_value_heads = 1;
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        arch->layers[l].attention = ATTENTION_LATENT;
    r = config_rope(config, 0, arch, err);
    if (r < 0)
        return r;
    const struct rope_spec *rope = &arch->ropes[0];
    const bool scaled = rope->scaling == ROPE_SCALING_YARN && rope->factor > 1.0;
    const double mscale = scaled ? 0.1 * rope->mscale_all_dim * log(rope->factor) + 1.0 : 1.0;
    arch->attention_scale =
        (float)(mscale * mscale / sqrt(arch->latent.nope_dim + arch->latent.rope_dim));
    return 0;
}

static int refuse_mlp_bias(const json_t *config, struct error *err)
{
    bool bias = false;
    const int r = config_bool(config, "mlp_bias", &bias, err);
    if (r == 0 && bias)
        return error_set(err, -ENOTSUP, "config.json: mlp_bias is true, supported is false");
    return r;
}

static int read_layers(const json_t *config, int32_t first_dense, struct arch *arch,
                       struct error *err)
{
    int32_t freq = 1;
    int r = config_int(config, "first_k_dense_replace", 0, ARCH_MAX_LAYERS, &first_dense, err);
    if (r == 0)
        r = config_int(config, "moe_layer_freq", 1, ARCH_MAX_LAYERS, &freq, err);
    for (int32_t l = 0; r == 0 && l < arch->num_hidden_layers; l++)
        arch->layers[l].mlp = l >= first_dense && l % freq == 0 ? MLP_EXPERTS : MLP_DENSE;
    return r;
}

static int read_shared(const json_t *config, struct arch *arch, struct error *err)
{
    int32_t shared = 0;
    int r = config_int(config, "n_shared_experts", 0, 1024, &shared, err);
    if (r < 0)
        return r;
    const int64_t width = (int64_t)shared * arch->moe.intermediate_size;
    if (width > MOE_KEYS_MAX_WIDTH)
        return error_set(err, -EINVAL,
                         "config.json: n_shared_experts is %d, wanted widths of at most %d in all",
                         shared, MOE_KEYS_MAX_WIDTH);
    arch->moe.shared_intermediate_size = (int32_t)width;
    return 0;
}

static int read_groups(const json_t *config, struct arch *arch, struct error *err)
{
    struct moe_routing *routing = &arch->moe.routing;
    const int32_t experts = arch->moe.num_experts;
    routing->num_groups = routing->top_groups = 1;
    int r = config_int(config, "n_group", 1, MOE_MAX_EXPERTS, &routing->num_groups, err);
    if (r == 0)
        r = config_int(config, "topk_group", 1, MOE_MAX_EXPERTS, &routing->top_groups, err);
    if (r < 0)
        return r;
    if (experts % routing->num_groups != 0)
        return error_set(err, -EINVAL,
                         "config.json: n_group is %d, wanted a divisor of the %d n_routed_experts",
                         routing->num_groups, experts);
    if (routing->top_groups > routing->num_groups)
        return error_set(err, -EINVAL, "config.json: topk_group is %d, wanted at most n_group %d",
                         routing->top_groups, routing->num_groups);
    if (arch->moe.top_k > routing->top_groups * (experts / routing->num_groups))
        return error_set(err, -EINVAL,
                         "config.json: num_experts_per_tok is %d, wanted at most the %d experts of "
                         "topk_group groups",
                         arch->moe.top_k, routing->top_groups * (experts / routing->num_groups));
    return 0;
}

/* `key` has one of the values; *ret_index says which, the first when it is absent. */
static int read_choice(const json_t *config, const char *key, const char *first, const char *second,
                       int *ret_index, struct error *err)
{
    const char *value = first;
    const int r = config_text(config, key, &value, err);
    if (r < 0)
        return r;
    *ret_index = strcmp(value, first) != 0;
    if (*ret_index == 0 || strcmp(value, second) == 0)
        return 0;
    return error_set(err, -ENOTSUP, "config.json: %s is \"%.40s\", supported is \"%s\"%s%s%s", key,
                     value, first, second[0] != '\0' ? " or \"" : "", second,
                     second[0] != '\0' ? "\"" : "");
}

static int read_experts(const json_t *config, int32_t first_dense, struct arch *arch,
                        struct error *err)
{
    double scale = 1.0;
    int r = refuse_mlp_bias(config, err);
    if (r == 0)
        r = moe_keys_narrow(config, "n_routed_experts", "num_local_experts", arch, err);
    if (r == 0)
        r = config_real(config, "routed_scaling_factor", 1e-6, 1e6, &scale, err);
    arch->moe.routing.scale = (float)scale;
    if (r == 0)
        r = read_shared(config, arch, err);
    return r < 0 ? r : read_layers(config, first_dense, arch, err);
}

/* Weights are normalised or scaled, not both. */
static int read_v2(const json_t *config, struct arch *arch, struct error *err)
{
    struct moe_routing *routing = &arch->moe.routing;
    int grouped = 0, unused = 0;
    int r = read_experts(config, 0, arch, err);
    if (r == 0)
        r = read_choice(config, "scoring_func", "softmax", "", &unused, err);
    if (r == 0)
        r = read_choice(config, "topk_method", "greedy", "group_limited_greedy", &grouped, err);
    if (r == 0 && grouped)
        r = read_groups(config, arch, err);
    routing->scores = MOE_SOFTMAX;
    routing->group_top = 1;
    if (routing->normalize && arch->moe.top_k > 1)
        routing->scale = 1.0f;
    else
        routing->normalize = false;
    arch->latent.interleaved = true;
    return r < 0 ? r : read_attention(config, arch, err);
}

static int read_v3(const json_t *config, struct arch *arch, struct error *err)
{
    struct moe_routing *routing = &arch->moe.routing;
    int unused = 0;
    routing->normalize = true;
    int r = read_experts(config, 3, arch, err);
    if (r == 0)
        r = read_choice(config, "scoring_func", "sigmoid", "", &unused, err);
    if (r == 0)
        r = read_choice(config, "topk_method", "noaux_tc", "", &unused, err);
    if (r == 0)
        r = read_groups(config, arch, err);
    routing->scores = MOE_SIGMOID;
    routing->group_top = 2;
    arch->moe.router_bias = true;
    arch->latent.interleaved = true;
    if (r == 0)
        r = config_bool(config, "rope_interleave", &arch->latent.interleaved, err);
    return r < 0 ? r : read_attention(config, arch, err);
}

/* GGUF files have kv_b_proj in two, its keys' part transposed already; older ones do not. */
static int probe(const struct checkpoint *checkpoint, struct arch *arch, struct error *err)
{
    (void)err;
    const bool is_split =
        checkpoint_find(checkpoint, "model.layers.0.self_attn.k_b_proj.weight") != NULL;
    arch->features |= is_split ? FEATURE_KV_SPLIT : FEATURE_KV_WHOLE;
    return 0;
}

const struct family family_deepseek_v2 = {
    .model_type = "deepseek_v2",
    .architecture = "DeepseekV2ForCausalLM",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_v2,
    .probe = probe,
    .ignored = family_ignored,
    .further_layers = true,
};

const struct family family_deepseek_v3 = {
    .model_type = "deepseek_v3",
    .architecture = "DeepseekV3ForCausalLM",
    .prefixes = family_prefixes,
    ROWS_OF(rows),
    .read_config = read_v3,
    .probe = probe,
    .ignored = family_ignored,
    .further_layers = true,
};
