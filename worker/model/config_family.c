/* Keys of config.json that some families share: activations, windows, scores. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "worker/model/config.h"

/* NULL when absent or null. */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

int config_activation(const json_t *config, const char *key, struct arch *arch, struct error *err)
{
    static const struct {
        const char *name;
        enum activation activation;
    } names[] = {
        { "silu", ACTIVATION_SILU },           { "swish", ACTIVATION_SILU },
        { "gelu", ACTIVATION_GELU },           { "gelu_new", ACTIVATION_GELU_TANH },
        { "gelu_fast", ACTIVATION_GELU_TANH }, { "gelu_pytorch_tanh", ACTIVATION_GELU_TANH },
    };
    const char *name = NULL;
    const int r = config_text(config, key, &name, err);
    if (r < 0 || name == NULL)
        return r;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i].name) == 0) {
            arch->activation = names[i].activation;
            return 0;
        }
    return error_set(err, -ENOTSUP,
                     "config.json: %s is \"%.40s\", supported are silu, gelu, gelu_new and "
                     "gelu_pytorch_tanh",
                     key, name);
}

static int read_layer_type(const json_t *types, int32_t l, bool *ret_slides, struct error *err)
{
    const char *type = json_string_value(json_array_get(types, (size_t)l));
    *ret_slides = type != NULL && strcmp(type, "sliding_attention") == 0;
    if (*ret_slides || (type != NULL && strcmp(type, "full_attention") == 0))
        return 0;
    return error_set(err, -ENOTSUP,
                     "config.json: layer_types[%d] is \"%.40s\", supported are full_attention and "
                     "sliding_attention",
                     l, type != NULL ? type : "no string");
}

int config_windows(const json_t *config, config_slides *slides, int32_t parameter,
                   struct arch *arch, struct error *err)
{
    const json_t *types = get(config, "layer_types");
    const int32_t num = arch->num_hidden_layers;
    int32_t window = 0;
    int r = config_int(config, "sliding_window", 1, INT32_MAX, &window, err);
    if (r == 0 && types != NULL && json_array_size(types) != (size_t)num)
        return error_set(err, -EINVAL,
                         "config.json: layer_types has %zu values, wanted one for each of the %d "
                         "num_hidden_layers",
                         json_array_size(types), num);
    for (int32_t l = 0; r == 0 && l < num; l++) {
        bool is_sliding = types == NULL && slides(l, parameter);
        if (types != NULL)
            r = read_layer_type(types, l, &is_sliding, err);
        if (r == 0 && is_sliding && window == 0)
            return error_set(err, -EINVAL,
                             "config.json: sliding_window is missing, wanted by layer %d", l);
        arch->layers[l].window = is_sliding ? window : 0;
    }
    return r;
}

static bool everywhere(int32_t layer, int32_t unused)
{
    (void)layer;
    (void)unused;
    return true;
}

int config_window_everywhere(const json_t *config, struct arch *arch, struct error *err)
{
    if (get(config, "sliding_window") == NULL && get(config, "layer_types") == NULL)
        return 0;
    return config_windows(config, everywhere, 0, arch, err);
}

static bool from_layer(int32_t layer, int32_t max_window_layers)
{
    return layer >= max_window_layers;
}

int config_window_behind(const json_t *config, struct arch *arch, struct error *err)
{
    bool use_window = false;
    int32_t first = 0;
    int r = config_bool(config, "use_sliding_window", &use_window, err);
    if (r == 0)
        r = config_int(config, "max_window_layers", 0, INT32_MAX, &first, err);
    return r == 0 && use_window ? config_windows(config, from_layer, first, arch, err) : r;
}

static int read_scores(const json_t *config, struct arch *arch, struct error *err)
{
    double scalar = 0.0, scores = 0.0, logits = 0.0;
    int r = config_real(config, "query_pre_attn_scalar", 1e-3, 1e6, &scalar, err);
    if (r == 0)
        r = config_real(config, "attn_logit_softcapping", 1e-3, 1e6, &scores, err);
    if (r == 0)
        r = config_real(config, "final_logit_softcapping", 1e-3, 1e6, &logits, err);
    arch->attention_scale = scalar > 0.0 ? (float)(1.0 / sqrt(scalar)) : 0.0f;
    arch->attention_softcap = (float)scores;
    arch->logits_softcap = (float)logits;
    return r;
}

/* To the nearest value with so many bits of mantissa. */
static double round_to(double value, int bits)
{
    int exponent;
    const double mantissa = frexp(value, &exponent);
    return ldexp(nearbyint(ldexp(mantissa, bits)), exponent - bits);
}

static void scale_embedding(struct arch *arch)
{
    const int bits = arch->dtype == DTYPE_BF16 ? 8 : arch->dtype == DTYPE_F16 ? 11 : 24;
    arch->embedding_scale = (float)round_to(sqrt((double)arch->hidden_size), bits);
}

static int refuse_bidirectional(const json_t *config, struct error *err)
{
    bool both = false;
    const int r = config_bool(config, "use_bidirectional_attention", &both, err);
    if (r == 0 && both)
        return error_set(err, -ENOTSUP,
                         "config.json: use_bidirectional_attention is true, supported is false");
    return r;
}

int config_gemma(const json_t *config, struct arch *arch, struct error *err)
{
    int r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    if (r == 0)
        r = read_scores(config, arch, err);
    scale_embedding(arch);
    return r < 0 ? r : refuse_bidirectional(config, err);
}
