#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "formats/gguf_arch.h"
#include "formats/gguf_value.h"

static const struct gguf_arch archs[] = {
    { GGUF_LLAMA, "llama", "llama", "LlamaForCausalLM" },
    { GGUF_MIXTRAL, "llama", "mixtral", "MixtralForCausalLM" },
    { GGUF_QWEN2, "qwen2", "qwen2", "Qwen2ForCausalLM" },
    { GGUF_QWEN3, "qwen3", "qwen3", "Qwen3ForCausalLM" },
    { GGUF_QWEN3MOE, "qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM" },
    { GGUF_PHI2, "phi2", "phi", "PhiForCausalLM" },
    { GGUF_PHI3, "phi3", "phi3", "Phi3ForCausalLM" },
    { GGUF_GEMMA, "gemma", "gemma", "GemmaForCausalLM" },
    { GGUF_GEMMA2, "gemma2", "gemma2", "Gemma2ForCausalLM" },
    { GGUF_GEMMA3, "gemma3", "gemma3_text", "Gemma3ForCausalLM" },
    { GGUF_QWEN2MOE, "qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM" },
    { GGUF_DEEPSEEK_V2, "deepseek2", "deepseek_v2", "DeepseekV2ForCausalLM" },
    { GGUF_DEEPSEEK_V3, "deepseek2", "deepseek_v3", "DeepseekV3ForCausalLM" },
    { GGUF_OLMO2, "olmo2", "olmo2", "Olmo2ForCausalLM" },
};

enum { NUM_ARCHS = sizeof(archs) / sizeof(archs[0]) };

#define ROPE_PERMUTED (GGUF_LLAMA | GGUF_MIXTRAL)
#define FOUR_NORMS    (GGUF_GEMMA2 | GGUF_GEMMA3)
#define BEHIND_NORMS  (FOUR_NORMS | GGUF_OLMO2)
#define MLP_EXPERTS   (GGUF_QWEN2MOE | GGUF_QWEN3MOE | GGUF_DEEPSEEKS)
#define NO_O_BIAS     (GGUF_QWEN2MOE | GGUF_DEEPSEEKS | GGUF_OLMO2)
#define ALL           GGUF_ALL

/* The first row that fits an architecture holds. */
static const struct name_row {
    const char *from, *to;
    unsigned archs;
    bool is_stacked, is_interleaved, is_key, is_row;
} model_rows[] = {
    { "token_embd.", "model.embed_tokens.", ALL },
    { "output_norm.", "model.final_layernorm.", GGUF_PHI2 },
    { "output_norm.", "model.norm.", ALL },
    { "output.", "lm_head.", ALL },
}, layer_rows[] = {
    { "attn_norm.", "input_layernorm.", ALL },
    { "attn_q.", "self_attn.q_proj.", ROPE_PERMUTED, false, true, false },
    { "attn_k.", "self_attn.k_proj.", ROPE_PERMUTED, false, true, true },
    { "attn_q.", "self_attn.q_proj.", ALL },
    { "attn_k.", "self_attn.k_proj.", ALL },
    { "attn_v.", "self_attn.v_proj.", ALL },
    { "attn_qkv.", "self_attn.qkv_proj.", GGUF_PHI3 },
    { "attn_output.", "self_attn.dense.", GGUF_PHI2 },
    { "attn_output.weight", "self_attn.o_proj.weight", NO_O_BIAS },
    { "attn_output.", "self_attn.o_proj.", ALL & ~NO_O_BIAS },
    { "attn_q_a.weight", "self_attn.q_a_proj.weight", GGUF_DEEPSEEKS },
    { "attn_q_a_norm.", "self_attn.q_a_layernorm.", GGUF_DEEPSEEKS },
    { "attn_q_b.weight", "self_attn.q_b_proj.weight", GGUF_DEEPSEEKS },
    { "attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", GGUF_DEEPSEEKS },
    { "attn_kv_a_norm.", "self_attn.kv_a_layernorm.", GGUF_DEEPSEEKS },
    { "attn_kv_b.weight", "self_attn.kv_b_proj.weight", GGUF_DEEPSEEKS },
    { "attn_k_b.weight", "self_attn.k_b_proj.weight", GGUF_DEEPSEEKS },
    { "attn_v_b.weight", "self_attn.v_b_proj.weight", GGUF_DEEPSEEKS },
    { "attn_q_norm.", "self_attn.q_norm.", ALL },
    { "attn_k_norm.", "self_attn.k_norm.", ALL },
    { "post_attention_norm.", "post_attention_layernorm.", BEHIND_NORMS },
    { "ffn_norm.", "pre_feedforward_layernorm.", FOUR_NORMS },
    { "ffn_norm.", "post_attention_layernorm.", ALL },
    { "post_ffw_norm.", "post_feedforward_layernorm.", BEHIND_NORMS },
    { "ffn_gate.", "mlp.gate_proj.", ALL },
    { "ffn_up.", "mlp.fc1.", GGUF_PHI2 },
    { "ffn_up.", "mlp.gate_up_proj.", GGUF_PHI3 },
    { "ffn_up.", "mlp.up_proj.", ALL },
    { "ffn_down.", "mlp.fc2.", GGUF_PHI2 },
    { "ffn_down.", "mlp.down_proj.", ALL },
    { "ffn_gate_inp.", "block_sparse_moe.gate.", GGUF_MIXTRAL },
    { "ffn_gate_exps.", "block_sparse_moe.experts.%d.w1.", GGUF_MIXTRAL, true, false, false },
    { "ffn_up_exps.", "block_sparse_moe.experts.%d.w3.", GGUF_MIXTRAL, true, false, false },
    { "ffn_down_exps.", "block_sparse_moe.experts.%d.w2.", GGUF_MIXTRAL, true, false, false },
    { "exp_probs_b.bias", "mlp.gate.e_score_correction_bias", GGUF_DEEPSEEK_V3 },
    { "ffn_gate_inp.", "mlp.gate.", MLP_EXPERTS },
    { "ffn_gate_exps.", "mlp.experts.%d.gate_proj.", MLP_EXPERTS, true, false, false },
    { "ffn_up_exps.", "mlp.experts.%d.up_proj.", MLP_EXPERTS, true, false, false },
    { "ffn_down_exps.", "mlp.experts.%d.down_proj.", MLP_EXPERTS, true, false, false },
    { "ffn_gate_inp_shexp.", "mlp.shared_expert_gate.", GGUF_QWEN2MOE, .is_row = true },
    { "ffn_gate_shexp.", "mlp.shared_expert.gate_proj.", GGUF_QWEN2MOE },
    { "ffn_up_shexp.", "mlp.shared_expert.up_proj.", GGUF_QWEN2MOE },
    { "ffn_down_shexp.", "mlp.shared_expert.down_proj.", GGUF_QWEN2MOE },
    { "ffn_gate_shexp.", "mlp.shared_experts.gate_proj.", GGUF_DEEPSEEKS },
    { "ffn_up_shexp.", "mlp.shared_experts.up_proj.", GGUF_DEEPSEEKS },
    { "ffn_down_shexp.", "mlp.shared_experts.down_proj.", GGUF_DEEPSEEKS },
};

/* Behind "blk.N.": nothing that a forward without prediction of several tokens reads. */
static const char *const ignored_parts[] = { "attn_rot_embd", "nextn." };

static const char *const ignored[] = { "rope_freqs.weight", "rope_factors_long.weight",
                                       "rope_factors_short.weight" };

/* One name of GGUF's that is several of Hugging Face's: a number tells which. */
static const struct choice_row {
    unsigned id;
    const char *key; /* read as an integer; 0 when absent */
    int64_t min, max;
} choices[] = {
    { GGUF_LLAMA, "llama.expert_count", 0, 0 },
    { GGUF_MIXTRAL, "llama.expert_count", 1, INT32_MAX },
    { GGUF_DEEPSEEK_V2, "deepseek2.expert_gating_func", 0, 1 }, /* 1 is softmax, 2 sigmoid */
    { GGUF_DEEPSEEK_V3, "deepseek2.expert_gating_func", 2, 2 },
};

/* Returns 1, 0 or -EINVAL. */
static int is_chosen(const struct gguf *gguf, const struct gguf_arch *arch, struct error *err)
{
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        int64_t number = 0;
        if (choices[i].id != arch->id)
            continue;
        const int r = gguf_int(gguf, choices[i].key, 0, INT32_MAX, &number, err);
        return r < 0 ? r : number >= choices[i].min && number <= choices[i].max;
    }
    return 1;
}

int gguf_arch_find(const struct gguf *gguf, const struct gguf_arch **ret_arch, struct error *err)
{
    const char *name = "";
    size_t len = 0;
    bool is_known = false;
    int r = gguf_text(gguf, "general.architecture", &name, &len, err);
    if (r == 0)
        return error_set(err, -EINVAL, "general.architecture is missing");
    for (size_t i = 0; r >= 0 && i < NUM_ARCHS; i++) {
        if (strlen(archs[i].name) != len || memcmp(archs[i].name, name, len) != 0)
            continue;
        is_known = true;
        r = is_chosen(gguf, &archs[i], err);
        if (r > 0) {
            *ret_arch = &archs[i];
            return 0;
        }
    }
    if (r < 0)
        return r;
    if (is_known)
        return error_set(err, -ENOTSUP,
                         "deepseek2.expert_gating_func is none of 1 (softmax) and 2 (sigmoid)");
    return error_set(err, -ENOTSUP,
                     "general.architecture is \"%.*s\", supported are llama, qwen2, qwen2moe, "
                     "qwen3, qwen3moe, phi2, phi3, gemma, gemma2, gemma3, deepseek2 and olmo2",
                     (int)(len < 40 ? len : 40), name);
}

static bool ends_in(const char *text, const char *end)
{
    const size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool map_row(const struct gguf_arch *arch, const struct name_row *rows, size_t num,
                    const char *prefix, const char *name, struct gguf_name *ret_name)
{
    for (size_t i = 0; i < num; i++) {
        const size_t len = strlen(rows[i].from);
        if ((rows[i].archs & arch->id) == 0 || strncmp(name, rows[i].from, len) != 0)
            continue;
        ret_name->is_stacked = rows[i].is_stacked;
        ret_name->is_interleaved = rows[i].is_interleaved;
        ret_name->is_key = rows[i].is_key;
        ret_name->is_row = rows[i].is_row;
        ret_name->holds_one = (arch->id & GGUF_GEMMAS) != 0 && ends_in(name, "norm.weight");
        return (size_t)snprintf(ret_name->text, sizeof(ret_name->text), "%s%s%s", prefix,
                                rows[i].to, name + len) < sizeof(ret_name->text);
    }
    return false;
}

bool gguf_name_map(const struct gguf_arch *arch, const char *name, struct gguf_name *ret_name)
{
    int layer = 0, end = 0;
    char prefix[32];
    *ret_name = (struct gguf_name){ 0 };
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        if (strcmp(name, ignored[i]) == 0) {
            ret_name->is_ignored = true;
            return true;
        }
    if (strchr(name, '%') != NULL) /* names become formats */
        return false;
    if (sscanf(name, "blk.%5d.%n", &layer, &end) < 1 || end == 0 || layer < 0)
        return map_row(arch, model_rows, sizeof(model_rows) / sizeof(model_rows[0]), "", name,
                       ret_name);
    for (size_t i = 0; i < sizeof(ignored_parts) / sizeof(ignored_parts[0]); i++)
        if (strncmp(name + end, ignored_parts[i], strlen(ignored_parts[i])) == 0) {
            ret_name->is_ignored = true;
            return true;
        }
    snprintf(prefix, sizeof(prefix), "model.layers.%d.", layer);
    return map_row(arch, layer_rows, sizeof(layer_rows) / sizeof(layer_rows[0]), prefix, name + end,
                   ret_name);
}

/* --- the other way ------------------------------------------------------------------------- */

/* Model types whose GGUF is another's. */
static const struct alias_row {
    const char *model_type;
    enum gguf_arch_id id;
} aliases[] = { { "mistral", GGUF_LLAMA } };

const struct gguf_arch *gguf_arch_named(const char *model_type)
{
    unsigned id = 0;
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (strcmp(aliases[i].model_type, model_type) == 0)
            id = aliases[i].id;
    for (size_t i = 0; i < NUM_ARCHS; i++)
        if (archs[i].id == id || strcmp(archs[i].model_type, model_type) == 0)
            return &archs[i];
    return NULL;
}

/* Does the name begin as `to` says, where %d is a number? Returns what follows, or NULL. */
static const char *match(const char *to, const char *name, int *ret_number)
{
    const char *mark = strstr(to, "%d");
    const size_t before = mark != NULL ? (size_t)(mark - to) : strlen(to);
    int number = 0, end = 0;
    if (strncmp(name, to, before) != 0)
        return NULL;
    name += before;
    if (mark == NULL)
        return name;
    if (sscanf(name, "%5d%n", &number, &end) < 1 || number < 0)
        return NULL;
    *ret_number = number;
    name += end;
    return strncmp(name, mark + 2, strlen(mark + 2)) == 0 ? name + strlen(mark + 2) : NULL;
}

/* The row that maps back to the same name: of several that could, the reader takes the first. */
static bool invert_row(const struct gguf_arch *arch, const struct name_row *rows, size_t num,
                       const char *prefix, const char *name, char *ret_text, size_t size,
                       int32_t *ret_part)
{
    for (size_t i = 0; i < num; i++) {
        int number = 0;
        const char *rest =
            (rows[i].archs & arch->id) != 0 ? match(rows[i].to, name, &number) : NULL;
        if (rest == NULL ||
            (size_t)snprintf(ret_text, size, "%s%s%s", prefix, rows[i].from, rest) >= size)
            continue;
        *ret_part = number;
        return true;
    }
    return false;
}

bool gguf_name_invert(const struct gguf_arch *arch, const char *name, struct gguf_name *ret_name,
                      char ret_text[GGUF_NAME_BYTES], int32_t *ret_part)
{
    int layer = 0, end = 0;
    char prefix[32];
    if (strchr(name, '%') != NULL)
        return false;
    const bool in_layer = sscanf(name, "model.layers.%5d.%n", &layer, &end) >= 1 && end > 0;
    snprintf(prefix, sizeof(prefix), "blk.%d.", layer);
    const struct name_row *rows = in_layer ? layer_rows : model_rows;
    const size_t num = in_layer ? sizeof(layer_rows) / sizeof(layer_rows[0])
                                : sizeof(model_rows) / sizeof(model_rows[0]);
    return layer >= 0 &&
           invert_row(arch, rows, num, in_layer ? prefix : "", name + (in_layer ? end : 0),
                      ret_text, GGUF_NAME_BYTES, ret_part) &&
           gguf_name_map(arch, ret_text, ret_name);
}
