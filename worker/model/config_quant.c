#include "worker/model/config_quant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "worker/model/config.h"

enum { MAX_GROUP = 1 << 20, MAX_BYTES = 1 << 20 };

static const struct json_limits limits = {
    .depth = 16, .values = 100000, .keys_per_object = 4096, .number_chars = 64
};

/* NULL when absent or null. */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* Keys that are true or hold something change the tensors' meaning. */
static bool is_set(const json_t *object, const char *key)
{
    const json_t *value = get(object, key);
    return json_is_true(value) || json_object_size(value) > 0 || json_array_size(value) > 0;
}

static int refuse_set(const json_t *config, const char *const *keys, struct error *err)
{
    for (; *keys != NULL; keys++)
        if (is_set(config, *keys))
            return error_set(err, -ENOTSUP, "%s is set, which is not supported", *keys);
    return 0;
}

/* A list of names: what is listed the tensors say, too. */
static int check_names(const json_t *config, const char *key, struct error *err)
{
    const json_t *list = get(config, key), *name;
    size_t i;
    if (list != NULL && !json_is_array(list))
        return error_set(err, -EINVAL, "%s is not a list of names", key);
    json_array_foreach((json_t *)(uintptr_t)list, i,
                       name) if (!json_is_string(name)) return error_set(err, -EINVAL,
                                                                         "%s[%zu] is not a string",
                                                                         key, i);
    return 0;
}

/* One of the words, which is NULL-terminated, or absent. */
static int check_word(const json_t *config, const char *key, const char *const *words,
                      struct error *err)
{
    const char *found = NULL;
    const int r = config_text(config, key, &found, err);
    if (r < 0 || found == NULL)
        return r;
    for (const char *const *word = words; *word != NULL; word++)
        if (strcasecmp(found, *word) == 0)
            return 0;
    return error_set(err, -ENOTSUP, "%s is \"%.40s\", supported is %s", key, found, words[0]);
}

/* group_size as GPTQ and AWQ have it: -1 is all inputs. */
static int read_group(const json_t *config, const char *key, struct quant_scheme *scheme,
                      struct error *err)
{
    int32_t size = 128;
    const int r = config_int(config, key, -1, MAX_GROUP, &size, err);
    if (r == 0 && size == 0)
        return error_set(err, -EINVAL, "%s is 0, wanted -1 or a number of inputs", key);
    scheme->strategy = QUANT_GROUP;
    scheme->block_cols = size < 0 ? 0 : size;
    return r;
}

/* [128, 128]; false when it is none. */
static bool read_pair(const json_t *value, struct quant_scheme *scheme)
{
    int64_t pair[2];
    if (json_array_size(value) != 2)
        return false;
    for (size_t i = 0; i < 2; i++)
        if (!json_get_int64(json_array_get(value, i), &pair[i]) || pair[i] < 1 ||
            pair[i] > MAX_GROUP)
            return false;
    scheme->strategy = QUANT_BLOCK;
    scheme->block_rows = (int32_t)pair[0];
    scheme->block_cols = (int32_t)pair[1];
    return true;
}

static int read_fp8(const json_t *config, struct config_quant *quant, struct error *err)
{
    static const char *const formats[] = { "e4m3", "float8_e4m3fn", "e4m3fn", NULL };
    const json_t *block = get(config, "weight_block_size");
    struct quant_scheme *scheme = &quant->schemes[0];
    *scheme = (struct quant_scheme){
        .is_float = true, .rounds_inputs = true, .bits = 8, .strategy = QUANT_TENSOR
    };
    if (block != NULL && !read_pair(block, scheme))
        return error_set(err, -EINVAL, "weight_block_size is no pair of sizes from 1 to %d",
                         MAX_GROUP);
    int r = check_word(config, "fmt", formats, err);
    if (r == 0)
        r = check_names(config, "modules_to_not_convert", err);
    return r < 0 ? r : check_names(config, "ignored_layers", err);
}

static int read_fbgemm(const json_t *config, struct config_quant *quant, struct error *err)
{
    quant->schemes[0] = (struct quant_scheme){
        .is_float = true, .rounds_inputs = true, .bits = 8, .strategy = QUANT_CHANNEL
    };
    return check_names(config, "modules_to_not_convert", err);
}

/* Rules for modules by name: those that leave a module as it is show in its tensors. */
static int check_dynamic(const json_t *config, struct error *err)
{
    const json_t *rules = get(config, "dynamic"), *rule;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)rules, name,
                        rule) if (strncmp(name, "-:", 2) !=
                                  0) return error_set(err, -ENOTSUP,
                                                      "dynamic has a rule for \"%.80s\", supported "
                                                      "are those that begin with -:",
                                                      name);
    return 0;
}

static int read_gptq(const json_t *config, struct config_quant *quant, struct error *err)
{
    static const char *const formats[] = { "gptq", "gptq_v2", NULL };
    static const char *const refused[] = { "is_marlin_format", NULL };
    struct quant_scheme *scheme = &quant->schemes[0];
    const char *format = "gptq";
    *scheme = (struct quant_scheme){ .is_packed = true };
    int r = config_int(config, "bits", 1, 32, &scheme->bits, err);
    if (r == 0 && scheme->bits != 4 && scheme->bits != 8)
        return error_set(err, -ENOTSUP, "bits is %d, supported are 4 and 8", scheme->bits);
    if (r == 0)
        r = read_group(config, "group_size", scheme, err);
    if (r == 0)
        r = config_bool(config, "desc_act", &scheme->has_order, err);
    if (r == 0)
        r = config_bool(config, "sym", &scheme->is_symmetric, err);
    if (r == 0)
        r = check_word(config, "checkpoint_format", formats, err);
    if (r == 0)
        r = config_text(config, "checkpoint_format", &format, err);
    quant->adds_one = strcasecmp(format, "gptq_v2") != 0;
    if (r == 0)
        r = check_dynamic(config, err);
    return r < 0 ? r : refuse_set(config, refused, err);
}

static int read_awq(const json_t *config, struct config_quant *quant, struct error *err)
{
    static const char *const versions[] = { "gemm", NULL };
    struct quant_scheme *scheme = &quant->schemes[0];
    bool has_zeros = true;
    *scheme = (struct quant_scheme){ .is_packed = true, .bits = 4 };
    int r = config_int(config, "w_bit", 1, 32, &scheme->bits, err);
    if (r == 0)
        r = config_int(config, "bits", 1, 32, &scheme->bits, err);
    if (r == 0 && scheme->bits != 4)
        return error_set(err, -ENOTSUP, "bits is %d, supported are 4", scheme->bits);
    if (r == 0)
        r = read_group(config, get(config, "group_size") != NULL ? "group_size" : "q_group_size",
                       scheme, err);
    if (r == 0)
        r = config_bool(config, "zero_point", &has_zeros, err);
    if (r == 0 && !has_zeros)
        return error_set(err, -ENOTSUP, "zero_point is false, supported is true");
    if (r == 0)
        r = check_word(config, "version", versions, err);
    return r < 0 ? r : check_names(config, "modules_to_not_convert", err);
}

/* --- compressed-tensors --------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool is_packed;
} compressed_formats[] = {
    { "float-quantized", false },
    { "naive-quantized", false },
    { "int-quantized", false },
    { "pack-quantized", true },
};

/* Absent, or of several formats: each scheme tells its own. */
static int read_format(const json_t *config, const char *key, bool *is_packed, struct error *err)
{
    const char *format = NULL;
    const int r = config_text(config, key, &format, err);
    if (r < 0 || format == NULL || strcmp(format, "mixed-precision") == 0)
        return r;
    for (size_t i = 0; i < sizeof(compressed_formats) / sizeof(compressed_formats[0]); i++)
        if (strcmp(format, compressed_formats[i].name) == 0) {
            *is_packed = compressed_formats[i].is_packed;
            return 0;
        }
    return error_set(err, -ENOTSUP,
                     "%s is \"%.40s\", supported are float-quantized, naive-quantized, "
                     "int-quantized and pack-quantized",
                     key, format);
}

static int read_strategy(const json_t *weights, struct quant_scheme *scheme, struct error *err)
{
    static const char *const names[] = { "tensor", "channel", "group", "block" };
    const char *name = get(weights, "group_size") != NULL ? "group" : "tensor";
    const int r = config_text(weights, "strategy", &name, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0) {
            scheme->strategy = (enum quant_strategy)i;
            if (scheme->strategy == QUANT_GROUP)
                return read_group(weights, "group_size", scheme, err);
            if (scheme->strategy == QUANT_BLOCK &&
                !read_pair(get(weights, "block_structure"), scheme))
                return error_set(err, -EINVAL, "block_structure is no pair of sizes from 1 to %d",
                                 MAX_GROUP);
            return 0;
        }
    return error_set(err, -ENOTSUP,
                     "strategy is \"%.40s\", supported are tensor, channel, group and block", name);
}

static int read_weights(const json_t *weights, struct quant_scheme *scheme, struct error *err)
{
    const char *type = "int", *order = NULL;
    bool is_dynamic = false;
    scheme->bits = 8;
    scheme->is_symmetric = true;
    int r = config_int(weights, "num_bits", 1, 32, &scheme->bits, err);
    if (r == 0)
        r = config_text(weights, "type", &type, err);
    if (r == 0)
        r = config_bool(weights, "symmetric", &scheme->is_symmetric, err);
    if (r == 0)
        r = config_bool(weights, "dynamic", &is_dynamic, err);
    if (r == 0 && !json_is_boolean(get(weights, "actorder")))
        r = config_text(weights, "actorder", &order, err);
    if (r < 0)
        return r;
    scheme->is_float = strcmp(type, "float") == 0;
    scheme->has_order = (order != NULL && strcasecmp(order, "group") == 0) ||
                        json_is_true(get(weights, "actorder"));
    if (is_dynamic || (!scheme->is_float && strcmp(type, "int") != 0))
        return error_set(err, -ENOTSUP, "weights are dynamic or of type \"%.40s\"", type);
    if (scheme->bits != 8 && (scheme->is_float || scheme->bits != 4))
        return error_set(err, -ENOTSUP, "num_bits of type %.8s is %d, supported are %s", type,
                         scheme->bits, scheme->is_float ? "8" : "4 and 8");
    return read_strategy(weights, scheme, err);
}

static bool is_e4m3(const json_t *scheme)
{
    const char *type = json_string_value(get(scheme, "type"));
    return type != NULL && strcmp(type, "float") == 0 &&
           json_integer_value(get(scheme, "num_bits")) == 8;
}

/* A group without weights is of activations alone. */
static int read_scheme(const json_t *group, bool is_packed, struct config_quant *quant,
                       struct error *err)
{
    const json_t *weights = get(group, "weights");
    struct quant_scheme *scheme = &quant->schemes[quant->num_schemes];
    if (!json_is_object(group) || (weights != NULL && !json_is_object(weights)))
        return error_set(err, -EINVAL, "config_groups has a group that is not an object");
    if (weights == NULL)
        return 0;
    if (quant->num_schemes == CONFIG_MAX_SCHEMES)
        return error_set(err, -ENOTSUP, "config_groups has more than %d groups",
                         CONFIG_MAX_SCHEMES);
    int r = check_names(group, "targets", err);
    if (r == 0)
        r = read_weights(weights, scheme, err);
    scheme->is_packed = is_packed && !scheme->is_float;
    scheme->rounds_inputs = scheme->is_float && is_e4m3(get(group, "input_activations"));
    if (r == 0)
        r = read_format(group, "format", &scheme->is_packed, err);
    if (r == 0 && scheme->is_packed && scheme->is_float)
        return error_set(err, -ENOTSUP, "format is pack-quantized of floats");
    quant->num_schemes += r == 0;
    return r;
}

static int read_compressed(const json_t *config, struct config_quant *quant, struct error *err)
{
    static const char *const refused[] = { "transform_config", NULL };
    static const char *const dense[] = { "dense", NULL };
    const json_t *groups = get(config, "config_groups"), *group;
    const char *name;
    bool is_packed = false;
    int r = read_format(config, "format", &is_packed, err);
    if (r == 0)
        r = check_names(config, "ignore", err);
    if (r == 0)
        r = refuse_set(config, refused, err);
    if (r == 0)
        r = check_word(get(config, "sparsity_config"), "format", dense, err);
    if (r == 0 && !json_is_object(groups))
        return error_set(err, -EINVAL, "config_groups is not an object");
    quant->num_schemes = 0;
    json_object_foreach((json_t *)(uintptr_t)groups, name, group)
    {
        if (r == 0)
            r = read_scheme(group, is_packed, quant, err);
    }
    if (r == 0 && quant->num_schemes == 0)
        return error_set(err, -EINVAL, "config_groups has no group with weights");
    return r;
}

/* --- methods -------------------------------------------------------------------------------- */

static const struct method_row {
    const char *name, *title;
    enum quant_method method;
    int (*read)(const json_t *config, struct config_quant *quant, struct error *err);
} methods[] = {
    { "fp8", "FP8", QUANT_FP8, read_fp8 },
    { "fbgemm_fp8", "FP8 (fbgemm)", QUANT_FBGEMM, read_fbgemm },
    { "gptq", "GPTQ", QUANT_GPTQ, read_gptq },
    { "awq", "AWQ", QUANT_AWQ, read_awq },
    { "compressed-tensors", "compressed-tensors", QUANT_COMPRESSED, read_compressed },
};
enum { NUM_METHODS = sizeof(methods) / sizeof(methods[0]) };

static const struct method_row *find_method(const char *name)
{
    for (size_t i = 0; name != NULL && i < NUM_METHODS; i++)
        if (strcmp(name, methods[i].name) == 0)
            return &methods[i];
    return NULL;
}

/* `method`: where the configuration does not name one. */
static int read_method(const json_t *config, const char *method, struct config_quant *ret_quant,
                       struct error *err)
{
    if (!json_is_object(config))
        return error_set(err, -EINVAL, "not an object");
    int r = config_text(config, "quant_method", &method, err);
    if (r < 0)
        return r;
    const struct method_row *row = find_method(method);
    if (row == NULL)
        return error_set(err, -ENOTSUP,
                         "quant_method is \"%.40s\", supported are fp8, fbgemm_fp8, gptq, awq and "
                         "compressed-tensors",
                         method != NULL ? method : "unnamed");
    struct config_quant quant = { .method = row->method, .num_schemes = 1 };
    r = row->read(config, &quant, err);
    if (r == 0)
        *ret_quant = quant;
    return r;
}

/* Behind the name of the file that the readers of keys put in front. */
static int refuse(int result, const char *where, const struct error *why, struct error *err)
{
    static const char front[] = "config.json: ";
    const size_t skip = strncmp(why->message, front, strlen(front)) == 0 ? strlen(front) : 0;
    return error_set(err, result, "%s: %s", where, why->message + skip);
}

int config_quant_read(const json_t *config, struct config_quant *ret_quant, struct error *err)
{
    const json_t *found = get(config, "quantization_config");
    struct error why = { 0 };
    *ret_quant = (struct config_quant){ 0 };
    if (found == NULL)
        found = get(config, "compression_config");
    if (found == NULL)
        return 0;
    const int r = read_method(found, NULL, ret_quant, &why);
    return r < 0 ? refuse(r, "config.json: quantization_config", &why, err) : 0;
}

static int read_file(const char *dir, const char *name, const char *method,
                     struct config_quant *ret_quant, uint64_t *hash, struct error *err)
{
    char path[4096];
    char *text;
    size_t len;
    json_t *config;
    struct error why = { 0 };
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
        access(path, F_OK) != 0)
        return 0;
    int r = file_read(path, MAX_BYTES, &text, &len, err);
    if (r < 0)
        return r;
    *hash = file_hash(*hash, text, len);
    r = json_read(text, len, &limits, &config, &why);
    free(text);
    if (r == 0) {
        r = read_method(config, method, ret_quant, &why);
        json_decref(config);
    }
    return r < 0 ? refuse(r, name, &why, err) : 0;
}

int config_quant_read_beside(const char *dir, struct config_quant *ret_quant, uint64_t *hash,
                             struct error *err)
{
    *ret_quant = (struct config_quant){ 0 };
    const int r = read_file(dir, "quantize_config.json", "gptq", ret_quant, hash, err);
    if (r < 0 || ret_quant->method != QUANT_NONE)
        return r;
    return read_file(dir, "quant_config.json", "awq", ret_quant, hash, err);
}

static void describe_scheme(const struct quant_scheme *scheme, char *text, size_t size)
{
    const char *const type = scheme->is_float ? "E4M3" : scheme->bits == 4 ? "4 bits" : "8 bits";
    char share[64] = "a scale per tensor";
    if (scheme->strategy == QUANT_CHANNEL ||
        (scheme->strategy == QUANT_GROUP && scheme->block_cols == 0))
        snprintf(share, sizeof(share), "a scale per channel");
    else if (scheme->strategy == QUANT_GROUP)
        snprintf(share, sizeof(share), "groups of %d", scheme->block_cols);
    else if (scheme->strategy == QUANT_BLOCK)
        snprintf(share, sizeof(share), "blocks of %d x %d", scheme->block_rows, scheme->block_cols);
    snprintf(text, size, "%s, %s%s", type, share, scheme->has_order ? ", act-order" : "");
}

void config_quant_describe(const struct config_quant *quant, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < NUM_METHODS; i++)
        if (methods[i].method == quant->method)
            snprintf(text, size, "%s", methods[i].title);
    for (int32_t i = 0; i < quant->num_schemes; i++) {
        char scheme[128];
        const size_t at = strlen(text);
        describe_scheme(&quant->schemes[i], scheme, sizeof(scheme));
        snprintf(text + at, size - at, "%s%s", i == 0 ? ", " : "; ", scheme);
    }
}
