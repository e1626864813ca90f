#include "convert/keys.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/block_choice.h"
#include "formats/gguf_arch.h"
#include "formats/gguf_vocab.h"
#include "worker/model/config.h"
#include "worker/model/rope.h"

enum {
    QUANTIZATION_VERSION = 2,
    MAX_TOKENIZER_BYTES = 256 << 20,
    MAX_CONFIG_BYTES = 16 << 20,
    MAX_TEMPLATE_BYTES = 1 << 20
};

struct maker {
    struct convert_source *source;
    struct gguf_writer *writer;
    const char *arch; /* before the keys */
    const char *path;
    struct error *err;
};

static void put_int(struct maker *m, const char *key, int64_t value)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", m->arch, key);
    gguf_put_u32(m->writer, name, (uint32_t)value);
}

static void put_real(struct maker *m, const char *key, double value)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", m->arch, key);
    gguf_put_f32(m->writer, name, (float)value);
}

static void put_text(struct maker *m, const char *key, const char *text)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", m->arch, key);
    gguf_put_text(m->writer, name, text, strlen(text));
}

/* --- positions ----------------------------------------------------------------------------- */

static int put_vector(struct maker *m, const char *name, const double *values, int32_t num)
{
    struct convert_tensor *tensor = convert_source_add(m->source, name);
    if (tensor != NULL)
        tensor->values = calloc((size_t)num, sizeof(float));
    if (tensor == NULL || tensor->values == NULL)
        return error_set(m->err, -ENOMEM, "no memory for %s", name);
    tensor->num_dims = 1;
    tensor->dims[0] = num;
    tensor->num_parts = 1;
    for (int32_t i = 0; i < num; i++)
        tensor->values[i] = (float)values[i];
    return 0;
}

/* What the plain frequencies are divided by. */
static int put_divisors(struct maker *m, const struct rope_spec *spec)
{
    const int32_t num = spec->rotary_dims / 2;
    double scaled[2 * ROPE_MAX_FACTORS];
    if (num > 2 * ROPE_MAX_FACTORS)
        return error_set(m->err, -ENOTSUP, "heads of %d dimensions", spec->rotary_dims);
    rope_inv_freq(spec, 0, scaled);
    for (int32_t i = 0; i < num; i++)
        scaled[i] = pow(spec->theta, -2.0 * i / spec->rotary_dims) / scaled[i];
    return put_vector(m, "rope_freqs.weight", scaled, num);
}

static int put_longrope(struct maker *m, const struct rope_spec *spec)
{
    const int32_t num = spec->rotary_dims / 2;
    put_int(m, "rope.scaling.original_context_length", spec->original_max_position_embeddings);
    put_real(m, "rope.scaling.attn_factor", rope_attention_factor(spec));
    const int r = put_vector(m, "rope_factors_long.weight", spec->long_factors, num);
    return r < 0 ? r : put_vector(m, "rope_factors_short.weight", spec->short_factors, num);
}

static bool is_deepseek(const struct maker *m)
{
    return (m->source->gguf_arch->id & GGUF_DEEPSEEKS) != 0;
}

/* The reader multiplies cos and sin by 1 + ln(factor) / 10 itself; DeepSeek's scores instead. */
static void put_yarn(struct maker *m, const struct rope_spec *spec)
{
    const double own = is_deepseek(m) ? 1.0 : 1.0 + 0.1 * log(spec->factor);
    const double wanted = rope_attention_factor(spec);
    put_text(m, "rope.scaling.type", "yarn");
    put_real(m, "rope.scaling.factor", spec->factor);
    put_int(m, "rope.scaling.original_context_length", spec->original_max_position_embeddings);
    put_real(m, "rope.scaling.yarn_beta_fast", spec->beta_fast);
    put_real(m, "rope.scaling.yarn_beta_slow", spec->beta_slow);
    if (fabs(wanted / own - 1.0) > 1e-6)
        put_real(m, "rope.scaling.attn_factor", wanted / own);
    if (is_deepseek(m) && spec->mscale_all_dim > 0.0)
        put_real(m, "rope.scaling.yarn_log_multiplier", 0.1 * spec->mscale_all_dim);
}

static int put_rope(struct maker *m)
{
    const struct arch *a = &m->source->arch;
    const struct rope_spec *spec = &a->ropes[0];
    put_int(m, "rope.dimension_count", spec->rotary_dims);
    put_real(m, "rope.freq_base", spec->theta);
    if (a->num_ropes > 1)
        put_real(m, "rope.freq_base_swa", a->ropes[1].theta);
    switch (spec->scaling) {
    case ROPE_SCALING_NONE:
        return 0;
    case ROPE_SCALING_LINEAR:
        put_text(m, "rope.scaling.type", "linear");
        put_real(m, "rope.scaling.factor", spec->factor);
        return 0;
    case ROPE_SCALING_LLAMA3:
        return put_divisors(m, spec);
    case ROPE_SCALING_YARN:
        put_yarn(m, spec);
        return 0;
    case ROPE_SCALING_LONGROPE:
        return put_longrope(m, spec);
    }
    return 0;
}

/* --- the rest of config.json --------------------------------------------------------------- */

static void put_sizes(struct maker *m)
{
    const struct arch *a = &m->source->arch;
    const bool is_layer_norm = m->source->gguf_arch->id == GGUF_PHI2;
    put_int(m, "vocab_size", a->vocab_size);
    put_int(m, "context_length", a->max_position_embeddings);
    put_int(m, "embedding_length", a->hidden_size);
    put_int(m, "block_count", a->num_hidden_layers);
    put_int(m, "feed_forward_length", a->intermediate_size);
    put_int(m, "attention.head_count", a->num_attention_heads);
    put_int(m, "attention.head_count_kv", a->num_key_value_heads);
    put_int(m, "attention.key_length",
            is_deepseek(m) ? a->latent.dim + a->latent.rope_dim : a->head_dim);
    put_int(m, "attention.value_length", is_deepseek(m) ? a->latent.dim : a->head_dim);
    put_real(m, is_layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
             (double)a->norm_eps);
}

/* The first layer without a window says how many there are from one to the next. */
static void put_windows(struct maker *m)
{
    const struct arch *a = &m->source->arch;
    int32_t window = 0, full = a->num_hidden_layers;
    for (int32_t l = a->num_hidden_layers - 1; l >= 0; l--) {
        full = a->layers[l].window == 0 ? l : full;
        window = a->layers[l].window > 0 ? a->layers[l].window : window;
    }
    if (window == 0)
        return;
    put_int(m, "attention.sliding_window", window);
    if (m->source->gguf_arch->id == GGUF_GEMMA3)
        put_int(m, "attention.sliding_window_pattern", full + 1);
}

/* What is cached stands where others have a head's widths. Without a rank for q readers that go by
 * the number of layers want a 0. */
static void put_latents(struct maker *m)
{
    const struct arch *a = &m->source->arch;
    if (!is_deepseek(m))
        return;
    put_int(m, "attention.q_lora_rank", a->latent.q_rank);
    put_int(m, "attention.kv_lora_rank", a->latent.dim);
    put_int(m, "attention.key_length_mla", a->latent.nope_dim + a->latent.rope_dim);
    put_int(m, "attention.value_length_mla", a->latent.value_dim);
}

static void put_routing(struct maker *m)
{
    enum { SOFTMAX = 1, SIGMOID = 2 };
    const struct arch *a = &m->source->arch;
    const struct moe_routing *routing = &a->moe.routing;
    char name[128];
    int32_t dense = 0;
    while (dense < a->num_hidden_layers && a->layers[dense].mlp == MLP_DENSE)
        dense++;
    put_int(m, "leading_dense_block_count", dense);
    put_int(m, "expert_shared_count", a->moe.shared_intermediate_size / a->moe.intermediate_size);
    put_real(m, "expert_weights_scale", (double)routing->scale);
    snprintf(name, sizeof(name), "%s.expert_weights_norm", m->arch);
    gguf_put_bool(m->writer, name, routing->normalize);
    put_int(m, "expert_gating_func", routing->scores == MOE_SIGMOID ? SIGMOID : SOFTMAX);
    if (routing->num_groups > 1) {
        put_int(m, "expert_group_count", routing->num_groups);
        put_int(m, "expert_group_used_count", routing->top_groups);
    }
}

static void put_experts(struct maker *m)
{
    const struct arch *a = &m->source->arch;
    const unsigned id = m->source->gguf_arch->id;
    if (a->moe.num_experts == 0)
        return;
    put_int(m, "expert_count", a->moe.num_experts);
    put_int(m, "expert_used_count", a->moe.top_k);
    if (id != GGUF_MIXTRAL)
        put_int(m, "expert_feed_forward_length", a->moe.intermediate_size);
    if (id == GGUF_QWEN2MOE)
        put_int(m, "expert_shared_feed_forward_length", a->moe.shared_intermediate_size);
    if (is_deepseek(m))
        put_routing(m);
}

/* Windows have no place in most architectures: within the first one there is no difference. */
static void shorten_context(struct maker *m, const struct convert_options *options)
{
    struct arch *a = &m->source->arch;
    int32_t window = 0;
    char text[160];
    if ((m->source->gguf_arch->id & (GGUF_PHI3 | GGUF_GEMMA2 | GGUF_GEMMA3)) != 0)
        return;
    for (int32_t l = 0; l < a->num_hidden_layers; l++) {
        window = a->layers[l].window > 0 ? a->layers[l].window : window;
        a->layers[l].window = 0;
    }
    if (window == 0)
        return;
    snprintf(text, sizeof(text),
             "the context is %d instead of %d: \"%s\" has no word for windows of attention", window,
             a->max_position_embeddings, m->arch);
    a->max_position_embeddings = window;
    if (options->note != NULL)
        options->note(options->context, text);
}

static int put_config(struct maker *m)
{
    const struct arch *a = &m->source->arch;
    put_sizes(m);
    put_windows(m);
    put_latents(m);
    put_experts(m);
    if (a->attention_softcap > 0.0f)
        put_real(m, "attn_logit_softcapping", (double)a->attention_softcap);
    if (a->logits_softcap > 0.0f)
        put_real(m, "final_logit_softcapping", (double)a->logits_softcap);
    return put_rope(m);
}

/* --- the tokenizer ------------------------------------------------------------------------- */

static int read_json(const char *dir, const char *name, size_t most, json_t **ret,
                     struct error *err)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%.200s...: the path is too long", dir);
    const int r = json_read_file(path, most, &json_limits_file, ret, err);
    return r == -ENOENT ? 0 : r;
}

static int read_template(const char *dir, char **ret_text, size_t *ret_len, struct error *err)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/chat_template.jinja", dir);
    const int r = file_read(path, MAX_TEMPLATE_BYTES, ret_text, ret_len, err);
    return r == -ENOENT ? 0 : r;
}

/* A model without a tokenizer stays one, in the word that llama.cpp has for it. */
static int put_tokenizer(struct maker *m)
{
    json_t *tokenizer = NULL, *settings = NULL, *generation = NULL;
    json_t *config = NULL;
    char *template = NULL;
    size_t template_len = 0;
    int r = read_json(m->path, "tokenizer.json", MAX_TOKENIZER_BYTES, &tokenizer, m->err);
    if (r == 0)
        r = read_json(m->path, "tokenizer_config.json", MAX_CONFIG_BYTES, &settings, m->err);
    if (r == 0)
        r = read_json(m->path, "generation_config.json", MAX_CONFIG_BYTES, &generation, m->err);
    if (r == 0)
        r = read_json(m->path, "config.json", MAX_CONFIG_BYTES, &config, m->err);
    if (r == 0)
        r = read_template(m->path, &template, &template_len, m->err);
    const struct gguf_vocab vocab = { .tokenizer = tokenizer,
                                      .settings = settings,
                                      .generation = generation,
                                      .config = config,
                                      .template = template,
                                      .template_len = template_len,
                                      .vocab_size = m->source->arch.vocab_size };
    if (r == 0 && tokenizer != NULL)
        r = gguf_vocab_put(m->writer, &vocab, m->err);
    else if (r == 0)
        gguf_put_text(m->writer, "tokenizer.ggml.model", "no_vocab", strlen("no_vocab"));
    json_decref(tokenizer);
    json_decref(settings);
    json_decref(generation);
    json_decref(config);
    free(template);
    return r;
}

/* --- the whole ----------------------------------------------------------------------------- */

/* The last part of a path, or what stands before ".gguf". */
static void put_name(struct maker *m)
{
    size_t len = strlen(m->path);
    while (len > 1 && m->path[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && m->path[begin - 1] != '/')
        begin--;
    gguf_put_text(m->writer, "general.name", m->path + begin, len - begin);
}

static int put_directory(struct maker *m, const struct convert_options *options)
{
    const char *name = m->source->gguf_arch->name;
    gguf_put_text(m->writer, "general.architecture", name, strlen(name));
    gguf_put_text(m->writer, "general.type", "model", strlen("model"));
    put_name(m);
    shorten_context(m, options);
    const int r = put_config(m);
    return r < 0 ? r : put_tokenizer(m);
}

static bool is_replaced(const char *key)
{
    static const char *const keys[] = { "general.file_type", "general.quantization_version",
                                        "general.alignment", "split.no",
                                        "split.count",       "split.tensors.count" };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

int convert_keys(struct convert_source *source, const struct convert_options *options,
                 struct gguf_writer *writer, struct error *err)
{
    struct maker m = { .source = source,
                       .writer = writer,
                       .arch = source->is_gguf ? NULL : source->gguf_arch->name,
                       .path = options->from,
                       .err = err };
    const struct gguf *gguf = source->is_gguf ? &source->files.files[0] : NULL;
    for (int32_t i = 0; gguf != NULL && i < gguf->num_values; i++)
        if (!is_replaced(gguf->values[i].key))
            gguf_put_value(writer, &gguf->values[i]);
    const int r = gguf == NULL ? put_directory(&m, options) : 0;
    gguf_put_u32(writer, "general.quantization_version", QUANTIZATION_VERSION);
    gguf_put_u32(writer, "general.file_type", block_choice_file_type(options->choice));
    return r;
}

/* --- reading back -------------------------------------------------------------------------- */

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fmax(fabs(a), fabs(b));
}

static double scale_of(const struct arch *a)
{
    return a->attention_scale > 0.0f ? (double)a->attention_scale : 1.0 / sqrt(a->head_dim);
}

static bool are_layers_equal(const struct arch *a, const struct arch *b)
{
    for (int32_t l = 0; l < a->num_hidden_layers; l++) {
        const struct layer_spec *x = &a->layers[l], *y = &b->layers[l];
        if (x->attention != y->attention || x->mlp != y->mlp || x->window != y->window ||
            !is_near(a->ropes[x->rope].theta, b->ropes[y->rope].theta))
            return false;
    }
    return true;
}

static bool are_routings_equal(const struct arch *a, const struct arch *b)
{
    const struct moe_routing *x = &a->moe.routing, *y = &b->moe.routing;
    return a->moe.num_experts == b->moe.num_experts && a->moe.top_k == b->moe.top_k &&
           a->moe.intermediate_size == b->moe.intermediate_size &&
           a->moe.shared_intermediate_size == b->moe.shared_intermediate_size &&
           a->moe.shared_gate == b->moe.shared_gate && a->moe.router_bias == b->moe.router_bias &&
           x->scores == y->scores && x->normalize == y->normalize && x->scale == y->scale &&
           (x->num_groups > 1) == (y->num_groups > 1) &&
           (x->num_groups <= 1 || (x->num_groups == y->num_groups &&
                                   x->top_groups == y->top_groups && x->group_top == y->group_top));
}

static bool are_latents_equal(const struct arch *a, const struct arch *b)
{
    return a->latent.q_rank == b->latent.q_rank && a->latent.dim == b->latent.dim &&
           a->latent.nope_dim == b->latent.nope_dim && a->latent.rope_dim == b->latent.rope_dim &&
           a->latent.value_dim == b->latent.value_dim &&
           a->latent.interleaved == b->latent.interleaved;
}

/* Frequencies of all positions, and what cos and sin are multiplied by. */
static bool are_ropes_equal(const struct rope_spec *a, const struct rope_spec *b, int32_t longest)
{
    double x[2 * ROPE_MAX_FACTORS], y[2 * ROPE_MAX_FACTORS];
    if (a->rotary_dims != b->rotary_dims || a->rotary_dims > 4 * ROPE_MAX_FACTORS ||
        !is_near(rope_attention_factor(a), rope_attention_factor(b)))
        return false;
    rope_inv_freq(a, longest, x);
    rope_inv_freq(b, longest, y);
    for (int32_t i = 0; i < a->rotary_dims / 2; i++)
        if (!is_near(x[i], y[i]))
            return false;
    return true;
}

/* What differs, or NULL. */
static const char *difference(const struct arch *a, const struct arch *b)
{
    const struct {
        const char *what;
        bool equal;
    } rows[] = {
        { "its sizes",
          a->num_hidden_layers == b->num_hidden_layers && a->hidden_size == b->hidden_size &&
              a->vocab_size == b->vocab_size && a->intermediate_size == b->intermediate_size &&
              a->num_attention_heads == b->num_attention_heads &&
              a->num_key_value_heads == b->num_key_value_heads && a->head_dim == b->head_dim },
        { "its latents", are_latents_equal(a, b) },
        { "tie_word_embeddings", a->tie_word_embeddings == b->tie_word_embeddings },
        { "its biases", a->attention_bias == b->attention_bias && a->mlp_bias == b->mlp_bias },
        { "the norm of q and k", a->qk_layernorm == b->qk_layernorm },
        { "the activation", a->activation == b->activation },
        { "the scale of scores", is_near(scale_of(a), scale_of(b)) },
        { "the soft caps",
          a->attention_softcap == b->attention_softcap && a->logits_softcap == b->logits_softcap },
        { "the experts", are_routings_equal(a, b) },
        { "windows or kinds of layers", are_layers_equal(a, b) },
        { "the positions",
          are_ropes_equal(&a->ropes[0], &b->ropes[0], a->max_position_embeddings) },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!rows[i].equal)
            return rows[i].what;
    return NULL;
}

int convert_check(const struct convert_source *source, const char *path, struct error *err)
{
    static _Thread_local struct arch arch;
    if (source->is_gguf)
        return 0;
    const int r = config_read(path, DTYPE_F32, 16, &arch, NULL, NULL, err);
    if (r < 0)
        return r;
    const char *what = difference(&source->arch, &arch);
    return what == NULL ? 0
                        : error_set(err, -ENOTSUP,
                                    "config.json: %s of this model cannot be said in GGUF's \"%s\"",
                                    what, source->gguf_arch->name);
}
