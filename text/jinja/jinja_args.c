#include "text/jinja/jinja_args.h"

#include <errno.h>
#include <string.h>

static size_t count_params(const char *params)
{
    size_t num = params[0] != '\0';
    for (const char *c = params; *c != '\0'; c++)
        num += *c == ',';
    return num;
}

/* Index of the parameter called `name`, or -1. */
static int find_param(const char *params, const struct jinja_string *name)
{
    for (int index = 0; *params != '\0'; index++) {
        const size_t len = strcspn(params, ",");
        if (len == name->len && memcmp(params, name->data, len) == 0)
            return index;
        params += len + (params[len] == ',');
    }
    return -1;
}

bool jinja_args_bind(struct jinja_run *run, const char *what, const char *params,
                     size_t num_required, const struct jinja_args *given,
                     struct jinja_value bound[JINJA_MAX_PARAMS])
{
    const bool by_position = params[0] == '/';
    const size_t num_params = count_params(params + by_position);

    if (given->num > num_params) {
        jinja_run_fail(run, -EINVAL, "%s takes at most %zu arguments, not %zu", what, num_params,
                       given->num);
        return false;
    }
    for (size_t i = 0; i < JINJA_MAX_PARAMS; i++)
        bound[i] = i < given->num ? given->args[i] : jinja_missing();
    for (size_t i = 0; i < given->num_keywords; i++) {
        const struct jinja_string *name = given->keywords[i].name;
        const int index = by_position ? -1 : find_param(params, name);
        if (index < 0 || bound[index].type != JINJA_MISSING) {
            jinja_run_fail(run, -EINVAL, "%s takes no (second) argument '%.*s'", what,
                           (int)(name->len > 40 ? 40 : name->len), name->data);
            return false;
        }
        bound[index] = given->keywords[i].value;
    }
    for (size_t i = 0; i < num_required; i++)
        if (bound[i].type == JINJA_MISSING)
            jinja_run_fail(run, -EINVAL, "%s wants %zu arguments", what, num_required);
    return jinja_run_ok(run);
}

int64_t jinja_args_int(struct jinja_run *run, struct jinja_value arg, int64_t otherwise)
{
    if (arg.type == JINJA_MISSING || arg.type == JINJA_NONE)
        return otherwise;
    if (jinja_is_integral(arg))
        return arg.of.integer;
    jinja_run_fail(run, -EINVAL, "an argument is %s, an integer is wanted", jinja_type_name(arg));
    return otherwise;
}

int64_t jinja_args_plain_int(struct jinja_run *run, struct jinja_value arg, int64_t otherwise)
{
    if (arg.type == JINJA_NONE)
        jinja_run_fail(run, -EINVAL, "an argument is None, an integer is wanted");
    return jinja_args_int(run, arg, otherwise);
}

bool jinja_args_flag(struct jinja_run *run, struct jinja_value arg, bool otherwise)
{
    return arg.type == JINJA_MISSING ? otherwise : jinja_truth(run, arg);
}

struct jinja_string *jinja_args_string(struct jinja_run *run, struct jinja_value arg)
{
    if (arg.type == JINJA_STRING)
        return arg.of.string;
    if (arg.type != JINJA_MISSING && arg.type != JINJA_NONE)
        jinja_run_fail(run, -EINVAL, "an argument is %s, a string is wanted", jinja_type_name(arg));
    return NULL;
}
