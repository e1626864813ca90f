/* config.json from metadata: a table of keys, and what the architecture implies. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_arch.h"
#include "formats/gguf_value.h"

enum { MAX_FACTORS = 4096 };

struct maker {
    const struct gguf_files *files;
    const struct gguf *gguf;
    const struct gguf_arch *arch;
    json_t *config;
    struct error *err;
    int result; /* the first error */
};

#define QWEN_MOE     (GGUF_QWEN2MOE | GGUF_QWEN3MOE)
#define WITH_EXPERTS (GGUF_MIXTRAL | QWEN_MOE | GGUF_DEEPSEEKS)
#define ALL          GGUF_ALL

enum kind { INTEGER, REAL, BOOLEAN };

/* Keys that say the same under another name. An array of one number over and over, as some
 * converters write it by layer, is that number. */
static const struct key_row {
    const char *from, *to; /* behind "llama." */
    enum kind kind;
    unsigned archs;
} rows[] = {
    { "context_length", "max_position_embeddings", INTEGER, ALL },
    { "embedding_length", "hidden_size", INTEGER, ALL },
    { "block_count", "num_hidden_layers", INTEGER, ALL },
    { "feed_forward_length", "intermediate_size", INTEGER, ALL },
    { "attention.head_count", "num_attention_heads", INTEGER, ALL },
    { "attention.head_count_kv", "num_key_value_heads", INTEGER, ALL },
    { "attention.key_length", "head_dim", INTEGER, ALL & ~GGUF_DEEPSEEKS },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps", REAL, ALL },
    { "attention.layer_norm_epsilon", "layer_norm_eps", REAL, GGUF_PHI2 },
    { "attention.sliding_window", "sliding_window", INTEGER, ALL },
    { "attn_logit_softcapping", "attn_logit_softcapping", REAL, ALL },
    { "final_logit_softcapping", "final_logit_softcapping", REAL, ALL },
    { "rope.freq_base", "rope_theta", REAL, ALL },
    { "rope.freq_base_swa", "rope_local_base_freq", REAL, GGUF_GEMMA3 },
    { "attention.sliding_window_pattern", "sliding_window_pattern", INTEGER, GGUF_GEMMA3 },
    { "expert_count", "num_local_experts", INTEGER, GGUF_MIXTRAL },
    { "expert_count", "num_experts", INTEGER, QWEN_MOE },
    { "expert_count", "n_routed_experts", INTEGER, GGUF_DEEPSEEKS },
    { "expert_used_count", "num_experts_per_tok", INTEGER, WITH_EXPERTS },
    { "expert_feed_forward_length", "moe_intermediate_size", INTEGER, QWEN_MOE | GGUF_DEEPSEEKS },
    { "expert_shared_feed_forward_length", "shared_expert_intermediate_size", INTEGER,
      GGUF_QWEN2MOE },
    { "expert_shared_count", "n_shared_experts", INTEGER, GGUF_DEEPSEEKS },
    { "expert_weights_scale", "routed_scaling_factor", REAL, GGUF_DEEPSEEKS },
    { "expert_weights_norm", "norm_topk_prob", BOOLEAN, GGUF_DEEPSEEKS },
    { "expert_group_count", "n_group", INTEGER, GGUF_DEEPSEEKS },
    { "expert_group_used_count", "topk_group", INTEGER, GGUF_DEEPSEEKS },
    { "leading_dense_block_count", "first_k_dense_replace", INTEGER, GGUF_DEEPSEEKS },
    { "attention.kv_lora_rank", "kv_lora_rank", INTEGER, GGUF_DEEPSEEKS },
};

/* What no key says. */
static const struct implied_row {
    const char *key, *json;
    unsigned archs;
} implied[] = {
    { "hidden_act", "\"gelu_new\"", GGUF_PHI2 },
    { "hidden_act", "\"gelu_pytorch_tanh\"", GGUF_GEMMAS },
    { "hidden_activation", "\"gelu_pytorch_tanh\"", GGUF_GEMMAS },
    { "hidden_act", "\"silu\"", ALL & ~(GGUF_PHI2 | GGUF_GEMMAS) },
    { "sliding_window", "4096", GGUF_GEMMA2 },
    { "sliding_window_pattern", "6", GGUF_GEMMA3 },
    { "rope_local_base_freq", "10000.0", GGUF_GEMMA3 },
    { "norm_topk_prob", "true", GGUF_QWEN3MOE },
    { "norm_topk_prob", "false", GGUF_QWEN2MOE | GGUF_DEEPSEEKS },
    { "mlp_only_layers", "[]", QWEN_MOE },
    { "decoder_sparse_step", "1", QWEN_MOE },
    { "first_k_dense_replace", "0", GGUF_DEEPSEEKS },
    { "scoring_func", "\"softmax\"", GGUF_DEEPSEEK_V2 },
    { "scoring_func", "\"sigmoid\"", GGUF_DEEPSEEK_V3 },
};

static void fail(struct maker *m, int result)
{
    if (m->result == 0)
        m->result = result;
}

static void set(struct maker *m, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(m->config, key, value) < 0)
        fail(m, error_set(m->err, -ENOMEM, "no memory for %s", key));
}

static void key_name(const struct maker *m, const char *key, char name[128])
{
    snprintf(name, 128, "%s.%s", m->arch->name, key);
}

/* NULL when the value is of another kind. */
static json_t *read_element(const struct key_row *row, const struct gguf_value *value,
                            uint64_t index)
{
    int64_t number;
    double real;
    switch (row->kind) {
    case INTEGER:
        return gguf_value_int(value, index, &number) ? json_integer(number) : NULL;
    case REAL:
        return gguf_value_real(value, index, &real) && isfinite(real) ? json_real(real) : NULL;
    case BOOLEAN:
        return value->type == GGUF_BOOL && index < value->num ? json_boolean(value->at[index])
                                                              : NULL;
    }
    return NULL;
}

static void take_key(struct maker *m, const struct key_row *row)
{
    char name[128];
    key_name(m, row->from, name);
    const struct gguf_value *value = gguf_find(m->gguf, name);
    if (value == NULL || (row->archs & m->arch->id) == 0)
        return;
    json_t *first = read_element(row, value, 0);
    bool is_one = first != NULL;
    for (uint64_t i = 1; is_one && i < value->num; i++) {
        json_t *other = read_element(row, value, i);
        is_one = json_equal(first, other);
        json_decref(other);
    }
    if (is_one) {
        set(m, row->to, first);
        return;
    }
    json_decref(first);
    fail(m, error_set(m->err, -ENOTSUP, "%s is not one number for all layers", name));
}

static void take_implied(struct maker *m)
{
    for (size_t i = 0; i < sizeof(implied) / sizeof(implied[0]); i++)
        if ((implied[i].archs & m->arch->id) != 0 &&
            json_object_get(m->config, implied[i].key) == NULL)
            set(m, implied[i].key, json_loads(implied[i].json, JSON_DECODE_ANY, NULL));
}

static bool has_tensor(const struct maker *m, const char *name)
{
    const struct gguf *file;
    return gguf_files_find(m->files, name, &file) != NULL;
}

static int64_t get_int(const struct maker *m, const char *key)
{
    return json_integer_value(json_object_get(m->config, key));
}

/* What the tensors show. */
static void take_tensors(struct maker *m)
{
    const struct gguf *file;
    const struct gguf_tensor *embedding = gguf_files_find(m->files, "token_embd.weight", &file);
    if (embedding == NULL || embedding->num_dims != 2) {
        fail(m, error_set(m->err, -EINVAL, "tensor token_embd.weight is missing or no matrix"));
        return;
    }
    set(m, "vocab_size", json_integer(embedding->dims[1]));
    set(m, "tie_word_embeddings", json_boolean(!has_tensor(m, "output.weight")));
    set(m, m->arch->id == GGUF_QWEN2MOE ? "qkv_bias" : "attention_bias",
        json_boolean(has_tensor(m, "blk.0.attn_q.bias")));
    set(m, "mlp_bias", json_boolean(has_tensor(m, "blk.0.ffn_gate.bias")));
}

static double real_of(struct maker *m, const char *key, double otherwise)
{
    char name[128];
    double value = otherwise;
    key_name(m, key, name);
    const int r = gguf_real(m->gguf, name, &value, m->err);
    if (r < 0)
        fail(m, r);
    return value;
}

static int64_t int_of(struct maker *m, const char *key, int64_t otherwise)
{
    char name[128];
    int64_t value = otherwise;
    key_name(m, key, name);
    const int r = gguf_int(m->gguf, name, 0, INT32_MAX, &value, m->err);
    if (r < 0)
        fail(m, r);
    return value;
}

static void add(struct maker *m, json_t *object, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(object, key, value) < 0)
        fail(m, error_set(m->err, -ENOMEM, "no memory for %s", key));
}

/* The scale of scores that Gemma 2 and 3 have: the largest ones by width, the others by head. */
static void take_scale(struct maker *m)
{
    const int64_t layers = get_int(m, "num_hidden_layers"), width = get_int(m, "hidden_size");
    const int64_t heads = get_int(m, "num_attention_heads");
    const bool is_27b = layers == (m->arch->id == GGUF_GEMMA2 ? 46 : 62);
    if ((m->arch->id & (GGUF_GEMMA2 | GGUF_GEMMA3)) != 0)
        set(m, "query_pre_attn_scalar",
            json_integer(is_27b && heads > 0 ? width / heads : get_int(m, "head_dim")));
}

/* Widths of experts that older files leave out. */
static void take_widths(struct maker *m)
{
    const int64_t width = get_int(m, "intermediate_size"), used = get_int(m, "num_experts_per_tok");
    if (m->arch->id != GGUF_QWEN2MOE)
        return;
    if (json_object_get(m->config, "moe_intermediate_size") == NULL && used > 0)
        set(m, "moe_intermediate_size", json_integer(width / used));
    if (json_object_get(m->config, "shared_expert_intermediate_size") == NULL)
        set(m, "shared_expert_intermediate_size", json_integer(width));
}

/* Files that are older than the keys of groups; and V2's way to choose in them. */
static void take_groups(struct maker *m)
{
    static const struct {
        unsigned id;
        int64_t layers, experts, groups, used;
    } models[] = { { GGUF_DEEPSEEK_V2, 60, 160, 8, 3 }, { GGUF_DEEPSEEK_V3, 61, 256, 8, 4 } };
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        if (models[i].id == m->arch->id && json_object_get(m->config, "n_group") == NULL &&
            get_int(m, "num_hidden_layers") == models[i].layers &&
            get_int(m, "n_routed_experts") == models[i].experts) {
            set(m, "n_group", json_integer(models[i].groups));
            set(m, "topk_group", json_integer(models[i].used));
        }
    if (m->arch->id == GGUF_DEEPSEEK_V2 && get_int(m, "n_group") > 1)
        set(m, "topk_method", json_string("group_limited_greedy"));
}

/* Of a head: newer files say it under names of their own and beside it what is cached; in older
 * ones the plain names mean it. */
static void take_latents(struct maker *m)
{
    const int64_t rope = int_of(m, "rope.dimension_count", 0);
    const int64_t q_rank = int_of(m, "attention.q_lora_rank", 0);
    const int64_t layers = int_of(m, "block_count", 0);
    const int64_t key = int_of(m, "attention.key_length_mla", int_of(m, "attention.key_length", 0));
    const int64_t value =
        int_of(m, "attention.value_length_mla", int_of(m, "attention.value_length", 0));
    const int64_t further = int_of(m, "nextn_predict_layers", 0);
    if ((m->arch->id & GGUF_DEEPSEEKS) == 0)
        return;
    set(m, "num_hidden_layers", json_integer(layers - further));
    set(m, "num_key_value_heads", json_integer(get_int(m, "num_attention_heads")));
    set(m, "head_dim", json_integer(rope));
    set(m, "qk_rope_head_dim", json_integer(rope));
    set(m, "qk_nope_head_dim", json_integer(key - rope));
    set(m, "v_head_dim", json_integer(value));
    if (q_rank > 0)
        set(m, "q_lora_rank", json_integer(q_rank));
    take_groups(m);
}

/* What would change the meaning of all the rest. */
static void refuse_windows(struct maker *m)
{
    if (m->arch->id == GGUF_OLMO2 && get_int(m, "sliding_window") > 0)
        fail(m, error_set(m->err, -ENOTSUP,
                          "olmo2.attention.sliding_window is %d, supported is none (OLMo 2)",
                          (int)get_int(m, "sliding_window")));
}

/* --- rotary positions --------------------------------------------------------------------- */

/* A small f32 tensor as a list, or NULL when absent or unreadable. */
static json_t *read_factors(struct maker *m, const char *name)
{
    const struct gguf *file;
    const struct gguf_tensor *tensor = gguf_files_find(m->files, name, &file);
    float values[MAX_FACTORS];
    if (tensor == NULL)
        return NULL;
    if (tensor->type != BLOCK_F32 || tensor->num_dims != 1 || tensor->dims[0] > MAX_FACTORS) {
        fail(m, error_set(m->err, -EINVAL, "tensor %s is no list of at most %d F32", name,
                          MAX_FACTORS));
        return NULL;
    }
    const int r = gguf_read(file, tensor, 0, values, (size_t)tensor->bytes);
    json_t *list = json_array();
    for (int64_t i = 0; r == 0 && i < tensor->dims[0]; i++)
        if (!isfinite(values[i]) || json_array_append_new(list, json_real((double)values[i])) < 0)
            fail(m, error_set(m->err, -EINVAL, "tensor %s: value %d is not finite", name, (int)i));
    if (r < 0)
        fail(m, error_set(m->err, r, "tensor %s: %s", name, strerror(-r)));
    return list;
}

/* Divisors of the frequencies, for all positions or for short and long contexts. */
static json_t *make_factors(struct maker *m, json_t *short_factors, json_t *long_factors,
                            double attention, int64_t original)
{
    json_t *rope = json_object();
    add(m, rope, "rope_type", json_string("longrope"));
    add(m, rope, "short_factor", short_factors);
    add(m, rope, "long_factor", long_factors);
    add(m, rope, "attention_factor", json_real(attention));
    add(m, rope, "original_max_position_embeddings", json_integer(original));
    return rope;
}

/* DeepSeek's scale of scores grows with the factor, and cos and sin stay as they are. Its key is a
 * tenth of what config.json says. */
static void add_mscale(struct maker *m, json_t *rope, double attention)
{
    const double multiplier = real_of(m, "rope.scaling.yarn_log_multiplier", 0.0);
    if (!(multiplier > 0.0) || attention != 1.0)
        fail(m, error_set(m->err, -ENOTSUP,
                          "deepseek2.rope.scaling.yarn_log_multiplier is %g and attn_factor %g, "
                          "wanted more than 0 and 1",
                          multiplier, attention));
    add(m, rope, "mscale", json_real(10.0 * multiplier));
    add(m, rope, "mscale_all_dim", json_real(10.0 * multiplier));
}

static json_t *make_yarn(struct maker *m, double factor, int64_t original)
{
    json_t *rope = json_object();
    /* ggml's kernel multiplies by 1 + ln(factor) / 10 itself; the metadata's factor comes on top.
     */
    const double attention = real_of(m, "rope.scaling.attn_factor", 1.0);
    add(m, rope, "rope_type", json_string("yarn"));
    add(m, rope, "factor", json_real(factor));
    add(m, rope, "original_max_position_embeddings", json_integer(original));
    if ((m->arch->id & GGUF_DEEPSEEKS) != 0)
        add_mscale(m, rope, attention);
    else
        add(m, rope, "attention_factor", json_real(attention * (1.0 + 0.1 * log(factor))));
    add(m, rope, "beta_fast", json_real(real_of(m, "rope.scaling.yarn_beta_fast", 32.0)));
    add(m, rope, "beta_slow", json_real(real_of(m, "rope.scaling.yarn_beta_slow", 1.0)));
    return rope;
}

static json_t *make_linear(struct maker *m, double factor)
{
    json_t *rope = json_object();
    add(m, rope, "rope_type", json_string("linear"));
    add(m, rope, "factor", json_real(factor));
    return rope;
}

static json_t *make_scaling(struct maker *m, const char *type, size_t len)
{
    const double factor = real_of(m, "rope.scaling.factor", real_of(m, "rope.scale_linear", 1.0));
    const int64_t original =
        int_of(m, "rope.scaling.original_context_length", get_int(m, "max_position_embeddings"));
    if (len == 0 || (len == 4 && memcmp(type, "none", 4) == 0))
        return factor > 1.0 && len == 0 ? make_linear(m, factor) : NULL;
    if (len == 6 && memcmp(type, "linear", 6) == 0)
        return make_linear(m, factor);
    if (len == 4 && memcmp(type, "yarn", 4) == 0 && factor >= 1.0)
        return make_yarn(m, factor, original);
    if (len == 8 && memcmp(type, "longrope", 8) == 0)
        return NULL; /* by its tensors */
    fail(m, error_set(m->err, -ENOTSUP,
                      "%s.rope.scaling.type is \"%.*s\" by %g, supported are linear, yarn and "
                      "longrope",
                      m->arch->name, (int)(len < 40 ? len : 40), type, factor));
    return NULL;
}

static json_t *make_rope(struct maker *m)
{
    char name[128];
    const char *type = "";
    size_t len = 0;
    const int64_t longest = get_int(m, "max_position_embeddings");
    key_name(m, "rope.scaling.type", name);
    const int r = gguf_text(m->gguf, name, &type, &len, m->err);
    if (r < 0)
        fail(m, r);
    if (has_tensor(m, "rope_factors_long.weight"))
        return make_factors(m, read_factors(m, "rope_factors_short.weight"),
                            read_factors(m, "rope_factors_long.weight"),
                            real_of(m, "rope.scaling.attn_factor", 1.0),
                            int_of(m, "rope.scaling.original_context_length", longest));
    if (has_tensor(m, "rope_freqs.weight"))
        return make_factors(m, read_factors(m, "rope_freqs.weight"),
                            read_factors(m, "rope_freqs.weight"), 1.0, longest);
    return make_scaling(m, type, len);
}

static void take_rope(struct maker *m)
{
    const int64_t longest = get_int(m, "max_position_embeddings");
    const int64_t dims = int_of(m, "rope.dimension_count", 0);
    const int64_t heads = get_int(m, "num_attention_heads");
    int64_t head = get_int(m, "head_dim");
    json_t *rope = make_rope(m);
    if (rope != NULL)
        set(m, "rope_scaling", rope);
    if (m->arch->id == GGUF_PHI3)
        set(m, "original_max_position_embeddings",
            json_integer(int_of(m, "rope.scaling.original_context_length", longest)));
    if (head == 0 && heads > 0)
        head = get_int(m, "hidden_size") / heads;
    if (dims > 0 && dims < head && (m->arch->id & GGUF_DEEPSEEKS) == 0)
        set(m, "partial_rotary_factor", json_real((double)dims / (double)head));
}

/* --- the whole ---------------------------------------------------------------------------- */

static void take_ids(struct maker *m)
{
    static const char *const ids[][2] = { { "tokenizer.ggml.bos_token_id", "bos_token_id" },
                                          { "tokenizer.ggml.eos_token_id", "eos_token_id" } };
    for (size_t i = 0; i < 2; i++) {
        int64_t id;
        const int r = gguf_int(m->gguf, ids[i][0], 0, INT32_MAX, &id, m->err);
        if (r < 0)
            fail(m, r);
        if (r > 0)
            set(m, ids[i][1], json_integer(id));
    }
}

static void make(struct maker *m)
{
    json_t *architectures = json_array();
    json_array_append_new(architectures, json_string(m->arch->architecture));
    set(m, "architectures", architectures);
    set(m, "model_type", json_string(m->arch->model_type));
    set(m, "torch_dtype", json_string("float16"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        take_key(m, &rows[i]);
    take_implied(m);
    take_tensors(m);
    take_scale(m);
    take_widths(m);
    take_latents(m);
    refuse_windows(m);
    take_rope(m);
    take_ids(m);
}

int gguf_config_json(const struct gguf_files *files, char **ret_text, size_t *ret_len,
                     struct error *err)
{
    struct maker m = {
        .files = files, .gguf = &files->files[0], .config = json_object(), .err = err
    };
    m.result = gguf_arch_find(m.gguf, &m.arch, err);
    if (m.result == 0)
        make(&m);
    char *text =
        m.result == 0 ? json_dumps(m.config, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(m.config);
    if (m.result < 0)
        return m.result;
    if (text == NULL)
        return error_set(err, -ENOMEM, "no memory for a configuration");
    *ret_text = text;
    *ret_len = strlen(text);
    return 0;
}
