#include "worker/model/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/gguf_model.h"
#include "worker/families/family.h"

enum {
    MAX_CONFIG_BYTES = 1 << 20,
    MAX_WIDTH = 1 << 20, /* of any activation row */
};

static const struct json_limits limits = {
    .depth = 16, .values = 100000, .keys_per_object = 4096, .number_chars = 64
};

/* NULL when absent or null. */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

int config_int(const json_t *config, const char *key, int64_t min, int64_t max, int32_t *value,
               struct error *err)
{
    const json_t *found = get(config, key);
    int64_t number;
    if (found == NULL)
        return 0;
    if (!json_get_int64(found, &number))
        return error_set(err, -EINVAL, "config.json: %s is not an integer", key);
    if (number < min || number > max)
        return error_set(err, -EINVAL, "config.json: %s is %lld, wanted %lld to %lld", key,
                         (long long)number, (long long)min, (long long)max);
    *value = (int32_t)number;
    return 0;
}

int config_real(const json_t *config, const char *key, double min, double max, double *value,
                struct error *err)
{
    const json_t *found = get(config, key);
    if (found == NULL)
        return 0;
    if (!json_is_number(found))
        return error_set(err, -EINVAL, "config.json: %s is not a number", key);
    const double number = json_number_value(found);
    if (!(number >= min && number <= max))
        return error_set(err, -EINVAL, "config.json: %s is %g, wanted %g to %g", key, number, min,
                         max);
    *value = number;
    return 0;
}

int config_bool(const json_t *config, const char *key, bool *value, struct error *err)
{
    const json_t *found = get(config, key);
    if (found == NULL)
        return 0;
    if (!json_is_boolean(found))
        return error_set(err, -EINVAL, "config.json: %s is neither true nor false", key);
    *value = json_is_true(found);
    return 0;
}

int config_text(const json_t *config, const char *key, const char **value, struct error *err)
{
    const json_t *found = get(config, key);
    if (found == NULL)
        return 0;
    if (!json_is_string(found))
        return error_set(err, -EINVAL, "config.json: %s is not a string", key);
    *value = json_string_value(found);
    return 0;
}

static int require(const json_t *config, const char *key, struct error *err)
{
    if (get(config, key) == NULL)
        return error_set(err, -EINVAL, "config.json: %s is missing", key);
    return 0;
}

/* Sizes that every family has. */
static const struct size_row {
    const char *key;
    size_t offset;
    int64_t min, max;
    bool required;
} size_rows[] = {
    { "vocab_size", offsetof(struct arch, vocab_size), 1, 1 << 22, true },
    { "hidden_size", offsetof(struct arch, hidden_size), 1, 1 << 16, true },
    { "intermediate_size", offsetof(struct arch, intermediate_size), 1, MAX_WIDTH / 2, true },
    { "num_hidden_layers", offsetof(struct arch, num_hidden_layers), 1, ARCH_MAX_LAYERS, true },
    { "num_attention_heads", offsetof(struct arch, num_attention_heads), 1, 4096, true },
    { "num_key_value_heads", offsetof(struct arch, num_key_value_heads), 1, 4096, false },
    { "head_dim", offsetof(struct arch, head_dim), 2, 1024, false },
    { "max_position_embeddings", offsetof(struct arch, max_position_embeddings), 1,
      CONFIG_MAX_POSITIONS, false },
};

static int read_size(const json_t *config, const struct size_row *row, struct arch *arch,
                     struct error *err)
{
    int32_t *field = (int32_t *)((char *)arch + row->offset);
    const int r = row->required ? require(config, row->key, err) : 0;
    return r < 0 ? r : config_int(config, row->key, row->min, row->max, field, err);
}

static int check_heads(struct arch *arch, struct error *err)
{
    const int32_t heads = arch->num_attention_heads;
    if (arch->num_key_value_heads == 0)
        arch->num_key_value_heads = heads;
    if (heads % arch->num_key_value_heads != 0)
        return error_set(err, -EINVAL,
                         "config.json: num_key_value_heads is %d, wanted a divisor of the %d "
                         "num_attention_heads",
                         arch->num_key_value_heads, heads);
    if (arch->head_dim == 0) {
        if (arch->hidden_size % heads != 0)
            return error_set(err, -EINVAL,
                             "config.json: hidden_size is %d, wanted a multiple of the %d "
                             "num_attention_heads, or a head_dim",
                             arch->hidden_size, heads);
        arch->head_dim = arch->hidden_size / heads;
    }
    if (arch->head_dim % 2 != 0 || arch->head_dim > 1024)
        return error_set(err, -EINVAL, "config.json: head_dim is %d, wanted an even number to 1024",
                         arch->head_dim);
    const int64_t width =
        ((int64_t)heads + 2 * (int64_t)arch->num_key_value_heads) * arch->head_dim;
    if (width > MAX_WIDTH)
        return error_set(err, -EINVAL,
                         "config.json: heads of %lld values in all, wanted at most %d",
                         (long long)width, MAX_WIDTH);
    return 0;
}

static int read_sizes(const json_t *config, struct arch *arch, struct error *err)
{
    double eps = 1e-6;
    arch->max_position_embeddings = 2048;
    for (size_t i = 0; i < sizeof(size_rows) / sizeof(size_rows[0]); i++) {
        const int r = read_size(config, &size_rows[i], arch, err);
        if (r < 0)
            return r;
    }
    int r = check_heads(arch, err);
    if (r == 0)
        r = config_real(config, "rms_norm_eps", 1e-12, 0.1, &eps, err);
    if (r == 0)
        r = config_real(config, "layer_norm_eps", 1e-12, 0.1, &eps, err);
    if (r == 0)
        r = config_bool(config, "tie_word_embeddings", &arch->tie_word_embeddings, err);
    arch->norm_eps = (float)eps;
    return r;
}

static int read_dtype(const json_t *config, struct arch *arch, struct error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } names[] = {
        { "float32", DTYPE_F32 },
        { "float16", DTYPE_F16 },
        { "bfloat16", DTYPE_BF16 },
    };
    const char *name = "float32";
    int r = config_text(config, "torch_dtype", &name, err);
    if (r == 0)
        r = config_text(config, "dtype", &name, err);
    for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i].name) == 0) {
            arch->dtype = names[i].dtype;
            return 0;
        }
    return r < 0 ? r
                 : error_set(err, -ENOTSUP,
                             "config.json: dtype is \"%.40s\", supported are bfloat16, float16 "
                             "and float32",
                             name);
}

static int unsupported(const char *key, const char *found, struct error *err)
{
    struct strbuf list = { 0 };
    family_list(&list);
    const int r = error_set(err, -ENOTSUP, "config.json: %s is \"%.60s\", supported are %s", key,
                            found, list.data != NULL ? list.data : "");
    strbuf_finish(&list);
    return r;
}

static int find_family(const json_t *config, const struct family **ret_family, struct error *err)
{
    const char *model_type = NULL;
    const int r = config_text(config, "model_type", &model_type, err);
    const char *architecture =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (architecture == NULL)
        architecture = json_string_value(json_object_get(config, "architecture"));
    if (architecture == NULL && json_object_get(config, "use_token_routed_mlp") != NULL)
        architecture = "DeepForCausalLM"; /* whose own files name neither */
    if (r < 0)
        return r;
    if (model_type == NULL && architecture == NULL)
        return error_set(err, -EINVAL, "config.json: model_type is missing");
    *ret_family = json_is_object(get(config, "text_config"))
                      ? family_find_wrapped(model_type)
                      : family_find(model_type, architecture);
    if (*ret_family != NULL)
        return 0;
    return model_type != NULL ? unsupported("model_type", model_type, err)
                              : unsupported("architectures", architecture, err);
}

/* The family's defaults under the file's keys, and over these the keys of its text_config. A key
 * that is there but null hides the default. */
static int overlay(const json_t *config, const struct family *family, json_t **ret_whole,
                   struct error *err)
{
    const char *defaults = family->defaults != NULL ? family->defaults : "{}";
    json_t *whole = json_loads(defaults, 0, NULL);
    const json_t *text = get(config, "text_config");
    int r = whole != NULL ? json_object_update(whole, (json_t *)(uintptr_t)config) : -1;
    if (r == 0 && text != NULL)
        r = json_object_update(whole, (json_t *)(uintptr_t)text);
    if (r < 0) {
        json_decref(whole);
        return error_set(err, -ENOMEM, "no memory for the configuration");
    }
    *ret_whole = whole;
    return 0;
}

/* A window that holds the longest text is none. */
static void drop_wide_windows(struct arch *arch)
{
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        if (arch->layers[l].window >= arch->max_position_embeddings)
            arch->layers[l].window = 0;
}

static void set_kv(struct arch *arch, enum dtype kv_dtype, int32_t block_size)
{
    int32_t windows[ARCH_MAX_LAYERS];
    struct kv_place places[ARCH_MAX_LAYERS];
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        windows[l] = arch->layers[l].window;
    const int32_t num_layers =
        kv_groups_cut(windows, arch->num_hidden_layers, block_size, &arch->kv, places);
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        arch->layers[l].kv = places[l];
    arch->kv_block = (struct kv_layout){ .num_layers = num_layers,
                                         .num_kv_heads = arch->num_key_value_heads,
                                         .head_dim = arch->latent.dim + arch->head_dim,
                                         .block_size = block_size,
                                         .dtype = kv_dtype,
                                         .latent_dim = arch->latent.dim };
}

static int read_whole(const json_t *config, const struct family *family, struct arch *arch,
                      struct error *err)
{
    int r = config_quant_read(config, &arch->quant, err);
    if (r == 0)
        r = read_sizes(config, arch, err);
    if (r == 0)
        r = read_dtype(config, arch, err);
    if (r == 0)
        r = family->read_config(config, arch, err);
    if (r == 0)
        drop_wide_windows(arch);
    return r;
}

static int read_arch(const json_t *config, struct arch *arch, const struct family **ret_family,
                     struct error *err)
{
    json_t *whole = NULL;
    if (!json_is_object(config))
        return error_set(err, -EINVAL, "config.json: not an object");
    int r = find_family(config, ret_family, err);
    if (r == 0)
        r = overlay(config, *ret_family, &whole, err);
    if (r == 0)
        r = read_whole(whole, *ret_family, arch, err);
    json_decref(whole);
    return r;
}

/* Where `at` is a value's first byte: the key in front of it, to its closing quote, or NULL. */
static const char *key_before(const char *text, const char *at, int *ret_len)
{
    while (at > text && strchr(" \t\r\n-", at[-1]) != NULL)
        at--;
    if (at == text || *--at != ':')
        return NULL;
    while (at > text && strchr(" \t\r\n", at[-1]) != NULL)
        at--;
    if (at == text || *--at != '"')
        return NULL;
    const char *key = at;
    while (key > text && key[-1] != '"')
        key--;
    *ret_len = (int)(at - key < 80 ? at - key : 80);
    return key > text ? key : NULL;
}

/* Python writes numbers that JSON has not. */
static const char *find_no_number(const char *text, size_t len, int *ret_len)
{
    static const char *const words[] = { "NaN", "Infinity" };
    const char *key = NULL;
    for (size_t i = 0; key == NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        const char *at = memmem(text, len, words[i], strlen(words[i]));
        for (; at != NULL && key == NULL;
             at = memmem(at + 1, len - (size_t)(at + 1 - text), words[i], strlen(words[i])))
            key = key_before(text, at, ret_len);
    }
    return key;
}

/* A whole number that no 64 bits hold. */
static const char *find_long_number(const char *text, size_t len, int *ret_len)
{
    enum { MOST_DIGITS = 18 };
    const char *key = NULL;
    for (size_t i = 0, num; key == NULL && i < len; i += num + 1) {
        for (num = 0; i + num < len && text[i + num] >= '0' && text[i + num] <= '9';)
            num++;
        const char next = i + num < len ? text[i + num] : ' ';
        if (num > MOST_DIGITS && next != '.' && next != 'e' && next != 'E')
            key = key_before(text, text + i, ret_len);
    }
    return key;
}

static int refuse_text(const char *text, size_t len, int result, const struct error *why,
                       struct error *err)
{
    int key_len = 0;
    const char *key = find_no_number(text, len, &key_len);
    if (key != NULL)
        return error_set(err, result, "config.json: %.*s is not a number", key_len, key);
    key = find_long_number(text, len, &key_len);
    if (key != NULL)
        return error_set(err, result, "config.json: %.*s is a number too large", key_len, key);
    return error_set(err, result, "config.json: %s", why->message);
}

int config_parse(const char *text, size_t len, enum dtype kv_dtype, int32_t block_size,
                 struct arch *ret_arch, const struct family **ret_family, struct error *err)
{
    struct arch arch = { 0 };
    struct error why = { 0 };
    const struct family *family = NULL;
    json_t *config;
    int r = json_read(text, len, &limits, &config, &why);
    if (r < 0)
        return refuse_text(text, len, r, &why, err);
    r = read_arch(config, &arch, &family, err);
    json_decref(config);
    if (r < 0)
        return r;
    snprintf(arch.model_type, sizeof(arch.model_type), "%s", family->model_type);
    set_kv(&arch, kv_dtype, block_size);
    *ret_arch = arch;
    if (ret_family != NULL)
        *ret_family = family;
    return 0;
}

static int read_gguf(const char *path, char **ret_text, size_t *ret_len, struct error *err)
{
    struct gguf_files files;
    struct error why = { 0 };
    int r = gguf_files_open(path, &files, err);
    if (r < 0)
        return r;
    r = gguf_config_json(&files, ret_text, ret_len, &why);
    gguf_files_close(&files);
    return r < 0 ? error_set(err, r, "%.200s: %s", path, why.message) : 0;
}

static int read_text(const char *dir, char **ret_text, size_t *ret_len, struct error *err)
{
    char path[4096];
    if (gguf_is_file(dir))
        return read_gguf(dir, ret_text, ret_len, err);
    if (snprintf(path, sizeof(path), "%s/config.json", dir) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%.200s...: the path is too long", dir);
    return file_read(path, MAX_CONFIG_BYTES, ret_text, ret_len, err);
}

int config_read(const char *dir, enum dtype kv_dtype, int32_t block_size, struct arch *ret_arch,
                const struct family **ret_family, uint64_t *ret_hash, struct error *err)
{
    char *text;
    size_t len;
    int r = read_text(dir, &text, &len, err);
    if (r < 0)
        return r;
    uint64_t hash = file_hash(FILE_HASH_START, text, len);
    r = config_parse(text, len, kv_dtype, block_size, ret_arch, ret_family, err);
    free(text);
    if (r == 0 && ret_arch->quant.method == QUANT_NONE && !gguf_is_file(dir))
        r = config_quant_read_beside(dir, &ret_arch->quant, &hash, err);
    if (ret_hash != NULL)
        *ret_hash = hash;
    return r;
}

int model_read_arch(const char *dir, enum dtype kv_dtype, int32_t block_size, struct arch *ret_arch,
                    struct error *err)
{
    return config_read(dir, kv_dtype, block_size, ret_arch, NULL, NULL, err);
}
