/* How config.json says rotary positions, in the old and the new spelling. */
#include <errno.h>
#include <string.h>

#include "worker/model/config.h"

/* NULL when absent or null. */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static int require(const json_t *rope, const char *key, struct error *err)
{
    return get(rope, key) != NULL ? 0 : error_set(err, -EINVAL, "config.json: %s is missing", key);
}

static int require_real(const json_t *rope, const char *key, double min, double max, double *value,
                        struct error *err)
{
    const int r = require(rope, key, err);
    return r < 0 ? r : config_real(rope, key, min, max, value, err);
}

/* What is read, of which part of the file. */
struct source {
    const json_t *config; /* the whole */
    const json_t *rope;   /* the dictionary */
    const struct arch *arch;
    unsigned kinds;
};

/* Phi-3 has it beside the dictionary, and there it comes first. */
static int read_original(const struct source *s, bool required, struct rope_spec *spec,
                         struct error *err)
{
    static const char key[] = "original_max_position_embeddings";
    const json_t *from = get(s->config, key) != NULL ? s->config : s->rope;
    const int r = required ? require(from, key, err) : 0;
    return r < 0 ? r
                 : config_int(from, key, 2, CONFIG_MAX_POSITIONS,
                              &spec->original_max_position_embeddings, err);
}

static int read_linear(const struct source *s, struct rope_spec *spec, struct error *err)
{
    return require_real(s->rope, "factor", 1.0, 1e6, &spec->factor, err);
}

static int read_llama3(const struct source *s, struct rope_spec *spec, struct error *err)
{
    int r = require_real(s->rope, "factor", 1.0, 1e6, &spec->factor, err);
    if (r == 0)
        r = require_real(s->rope, "low_freq_factor", 1e-3, 1e6, &spec->low_freq_factor, err);
    if (r == 0)
        r = require_real(s->rope, "high_freq_factor", 1e-3, 1e6, &spec->high_freq_factor, err);
    if (r == 0)
        r = read_original(s, true, spec, err);
    if (r == 0 && spec->high_freq_factor <= spec->low_freq_factor)
        return error_set(err, -EINVAL,
                         "config.json: high_freq_factor is %g, wanted more than the "
                         "low_freq_factor %g",
                         spec->high_freq_factor, spec->low_freq_factor);
    return r;
}

/* Without a factor the lengths say it. */
static int read_stretch(const struct source *s, struct rope_spec *spec, struct error *err)
{
    spec->factor =
        (double)s->arch->max_position_embeddings / (double)spec->original_max_position_embeddings;
    int r = config_real(s->rope, "factor", 1e-3, 1e6, &spec->factor, err);
    if (r == 0)
        r = config_real(s->rope, "attention_factor", 1e-3, 1e3, &spec->attention_factor, err);
    return r;
}

static int read_yarn(const struct source *s, struct rope_spec *spec, struct error *err)
{
    bool truncate = true;
    spec->original_max_position_embeddings = s->arch->max_position_embeddings;
    spec->beta_fast = 32.0;
    spec->beta_slow = 1.0;
    int r = read_original(s, false, spec, err);
    if (r == 0)
        r = read_stretch(s, spec, err);
    if (r == 0)
        r = config_real(s->rope, "beta_fast", 1e-3, 1e6, &spec->beta_fast, err);
    if (r == 0)
        r = config_real(s->rope, "beta_slow", 1e-3, 1e6, &spec->beta_slow, err);
    if (r == 0)
        r = config_real(s->rope, "mscale", 0.0, 1e3, &spec->mscale, err);
    if (r == 0)
        r = config_real(s->rope, "mscale_all_dim", 0.0, 1e3, &spec->mscale_all_dim, err);
    if (r == 0)
        r = config_bool(s->rope, "truncate", &truncate, err);
    if (r == 0 && spec->theta <= 1.0)
        return error_set(err, -EINVAL, "config.json: rope_theta is %g, wanted more than 1",
                         spec->theta);
    spec->no_truncate = !truncate;
    return r;
}

static int read_factors(const struct source *s, const char *key, int32_t num, double *factors,
                        struct error *err)
{
    const json_t *list = get(s->rope, key);
    if (!json_is_array(list))
        return error_set(err, -EINVAL, "config.json: %s is not a list", key);
    if (json_array_size(list) != (size_t)num)
        return error_set(err, -EINVAL, "config.json: %s has %zu values, wanted %d", key,
                         json_array_size(list), num);
    for (int32_t i = 0; i < num; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        factors[i] = json_number_value(value);
        if (!json_is_number(value) || !(factors[i] >= 1e-3 && factors[i] <= 1e6))
            return error_set(err, -EINVAL,
                             "config.json: %s[%d] is not a number from 0.001 to 1000000", key, i);
    }
    return 0;
}

static int read_longrope(const struct source *s, struct rope_spec *spec, struct error *err)
{
    const int32_t num = spec->rotary_dims / 2;
    if (num > ROPE_MAX_FACTORS)
        return error_set(err, -ENOTSUP,
                         "config.json: rope_type is \"longrope\" over %d dimensions, supported "
                         "are %d",
                         spec->rotary_dims, 2 * ROPE_MAX_FACTORS);
    int r = read_original(s, true, spec, err);
    if (r == 0)
        r = read_stretch(s, spec, err);
    if (r == 0)
        r = read_factors(s, "short_factor", num, spec->short_factors, err);
    if (r == 0)
        r = read_factors(s, "long_factor", num, spec->long_factors, err);
    return r;
}

static int read_nothing(const struct source *s, struct rope_spec *spec, struct error *err)
{
    (void)s;
    (void)spec;
    (void)err;
    return 0;
}

static const struct scaling_row {
    const char *name;
    unsigned kinds; /* of which one must be allowed; 0: always */
    enum rope_scaling scaling;
    int (*read)(const struct source *s, struct rope_spec *spec, struct error *err);
} scalings[] = {
    { "default", 0, ROPE_SCALING_NONE, read_nothing },
    { "linear", 0, ROPE_SCALING_LINEAR, read_linear },
    { "llama3", 0, ROPE_SCALING_LLAMA3, read_llama3 },
    { "yarn", CONFIG_ROPE_LONG, ROPE_SCALING_LONGROPE, read_longrope }, /* Phi-3's old names */
    { "su", CONFIG_ROPE_LONG, ROPE_SCALING_LONGROPE, read_longrope },
    { "yarn", 0, ROPE_SCALING_YARN, read_yarn },
    { "deepseek_yarn", 0, ROPE_SCALING_YARN, read_yarn },
    { "longrope", 0, ROPE_SCALING_LONGROPE, read_longrope },
};

static int read_scaling(const struct source *s, struct rope_spec *spec, struct error *err)
{
    const char *kind = "default";
    int r = config_text(s->rope, "type", &kind, err);
    if (r == 0)
        r = config_text(s->rope, "rope_type", &kind, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(scalings) / sizeof(scalings[0]); i++) {
        const struct scaling_row *row = &scalings[i];
        if (strcmp(kind, row->name) == 0 && (row->kinds == 0 || (row->kinds & s->kinds) != 0)) {
            spec->scaling = row->scaling;
            return row->read(s, spec, err);
        }
    }
    if (strcmp(kind, "dynamic") == 0)
        return error_set(err, -ENOTSUP,
                         "config.json: rope_type is \"dynamic\", whose angles change with the "
                         "length of the text and with it what is cached, supported are default, "
                         "linear, llama3, yarn and longrope");
    return error_set(err, -ENOTSUP,
                     "config.json: rope_type is \"%.40s\", supported are default, linear, llama3, "
                     "yarn and longrope",
                     kind);
}

/* The dictionary's value comes before the one beside it. */
static int read_rotary_dims(const struct source *s, struct rope_spec *spec, struct error *err)
{
    double part = 1.0;
    int r = config_real(s->config, "partial_rotary_factor", 0.0, 1.0, &part, err);
    if (r == 0)
        r = config_real(s->rope, "partial_rotary_factor", 0.0, 1.0, &part, err);
    if (r < 0)
        return r;
    if (part < 1.0 && (s->kinds & CONFIG_ROPE_PARTIAL) == 0)
        return error_set(err, -ENOTSUP, "config.json: partial_rotary_factor is %g, supported is 1",
                         part);
    spec->rotary_dims = (int32_t)(s->arch->head_dim * part);
    if (spec->rotary_dims < 2 || spec->rotary_dims % 2 != 0)
        return error_set(err, -EINVAL,
                         "config.json: partial_rotary_factor is %g, %d of the %d dimensions of a "
                         "head, wanted an even number of them",
                         part, spec->rotary_dims, s->arch->head_dim);
    return 0;
}

/* `rope` is the dictionary or NULL, `theta` what holds without it. */
static int read_rope(const struct source *s, double theta, struct rope_spec *spec,
                     struct error *err)
{
    *spec = (struct rope_spec){ .theta = theta };
    if (s->rope != NULL && !json_is_object(s->rope))
        return error_set(err, -EINVAL, "config.json: %s is not an object",
                         get(s->config, "rope_parameters") != NULL ? "rope_parameters"
                                                                   : "rope_scaling");
    int r = config_real(s->rope, "rope_theta", 1.0, 1e15, &spec->theta, err);
    if (r == 0)
        r = read_rotary_dims(s, spec, err);
    return r < 0 ? r : read_scaling(s, spec, err);
}

int config_rope(const json_t *config, unsigned kinds, struct arch *arch, struct error *err)
{
    const json_t *parameters = get(config, "rope_parameters");
    const struct source s = { config, parameters ? parameters : get(config, "rope_scaling"), arch,
                              kinds };
    double theta = 10000.0;
    const int r = config_real(config, "rope_theta", 1.0, 1e15, &theta, err);
    arch->num_ropes = 1;
    return r < 0 ? r : read_rope(&s, theta, &arch->ropes[0], err);
}

/* The old spelling scales the layers of full attention alone. */
int config_rope_by_layer(const json_t *config, unsigned kinds, double global_theta,
                         double local_theta, struct arch *arch, struct error *err)
{
    const json_t *parameters = get(config, "rope_parameters");
    const json_t *full = get(parameters, "full_attention");
    const json_t *scaling = get(config, "rope_scaling");
    const struct source global = { config, full != NULL ? full : scaling, arch, kinds };
    const struct source local = { config, get(parameters, "sliding_attention"), arch, kinds };
    if (parameters != NULL && !json_is_object(parameters))
        return error_set(err, -EINVAL, "config.json: rope_parameters is not an object");
    if (parameters != NULL && full == NULL)
        return error_set(err, -EINVAL, "config.json: rope_parameters.full_attention is missing");
    int r = config_real(config, "rope_theta", 1.0, 1e15, &global_theta, err);
    if (r == 0)
        r = config_real(config, "rope_local_base_freq", 1.0, 1e15, &local_theta, err);
    if (r == 0)
        r = read_rope(&global, global_theta, &arch->ropes[0], err);
    if (r == 0)
        r = read_rope(&local, local_theta, &arch->ropes[1], err);
    arch->num_ropes = 2;
    return r;
}
