#include "text/jinja/jinja_functions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text/jinja/jinja_methods.h"
#include "text/jinja/jinja_print.h"

static struct jinja_value call_range(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_range *range = jinja_run_alloc(run, 1, sizeof(*range));
    int64_t bounds[3] = { 0, 0, 1 };

    if (args->num < 1 || args->num > 3 || args->num_keywords > 0)
        jinja_run_fail(run, -EINVAL, "range takes 1 to 3 integers");
    for (size_t i = 0; i < args->num && i < 3; i++)
        if (!jinja_is_integral(args->args[i]))
            jinja_run_fail(run, -EINVAL, "range wants integers, not %s",
                           jinja_type_name(args->args[i]));
        else
            bounds[args->num == 1 ? 1 : i] = args->args[i].of.integer;
    if (bounds[2] == 0)
        jinja_run_fail(run, -EINVAL, "range wants a step that is not zero");
    if (!jinja_run_ok(run))
        return jinja_undefined(NULL);

    const uint64_t low = (uint64_t)(bounds[2] > 0 ? bounds[0] : bounds[1]);
    const uint64_t high = (uint64_t)(bounds[2] > 0 ? bounds[1] : bounds[0]);
    const uint64_t stride = bounds[2] > 0 ? (uint64_t)bounds[2] : 0 - (uint64_t)bounds[2];
    const uint64_t num = (int64_t)low < (int64_t)high ? (high - low - 1) / stride + 1 : 0;
    if (num > JINJA_MAX_RANGE) {
        jinja_run_fail(run, -E2BIG, "range of more than %d numbers", JINJA_MAX_RANGE);
        return jinja_undefined(NULL);
    }
    *range = (struct jinja_range){ bounds[0], bounds[1], bounds[2], (int64_t)num };
    return (struct jinja_value){ .type = JINJA_RANGE, .of.range = range };
}

static void add_pairs(struct jinja_run *run, struct jinja_dict *dict, struct jinja_value from)
{
    struct jinja_cursor cursor = jinja_cursor(run, from);
    struct jinja_value item;
    while (jinja_cursor_next(run, &cursor, &item)) {
        const struct jinja_list *pair = jinja_to_list(run, item);
        if (pair != NULL && pair->num != 2)
            jinja_run_fail(run, -EINVAL, "a dict is made of pairs, not of %zu items", pair->num);
        if (jinja_run_ok(run))
            jinja_dict_set(run, dict, pair->items[0], pair->items[1]);
    }
}

/* dict() of a mapping or of pairs, and of names. */
static struct jinja_value make_dict(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_dict *dict = jinja_dict_create(run);
    if (args->num > 1)
        jinja_run_fail(run, -EINVAL, "dict takes one argument by position");
    if (args->num == 1 && args->args[0].type == JINJA_DICT) {
        const struct jinja_dict *from = args->args[0].of.dict;
        for (size_t i = 0; i < from->num && jinja_run_ok(run); i++)
            jinja_dict_set(run, dict, from->entries[i].key, from->entries[i].value);
    } else if (args->num == 1)
        add_pairs(run, dict, args->args[0]);
    for (size_t i = 0; i < args->num_keywords && jinja_run_ok(run); i++)
        jinja_dict_set(
            run, dict,
            (struct jinja_value){ .type = JINJA_STRING, .of.string = args->keywords[i].name },
            args->keywords[i].value);
    return jinja_dict_value(dict);
}

bool jinja_function_check_attribute(struct jinja_run *run, struct jinja_value name)
{
    if (name.type == JINJA_STRING && name.of.string->len > 0 && name.of.string->data[0] == '_')
        jinja_run_fail(run, -EINVAL, "a namespace takes no attribute that begins with '_'");
    return jinja_run_ok(run);
}

static struct jinja_value call_namespace(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_value value = make_dict(run, args);
    if (value.type != JINJA_DICT)
        return value;
    for (size_t i = 0; i < value.of.dict->num; i++)
        if (!jinja_function_check_attribute(run, value.of.dict->entries[i].key))
            return jinja_undefined(NULL);
    value.type = JINJA_NAMESPACE;
    return value;
}

static struct jinja_value call_raise(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_value bound[JINJA_MAX_PARAMS];
    if (!jinja_args_bind(run, "raise_exception", "message", 1, args, bound))
        return jinja_undefined(NULL);
    const struct jinja_value text = jinja_print_value(run, bound[0]);
    if (text.type == JINJA_STRING)
        jinja_run_raise(run, text.of.string->data, text.of.string->len);
    return jinja_undefined(NULL);
}

/* One conversion; a time without zone has empty %z and %Z, and only Python has %f. */
static void print_time(struct strbuf *out, const struct tm *tm, int64_t wall_us, char conversion)
{
    char text[256];
    const char format[] = { '%', conversion, '\0' };
    const int64_t micros = ((wall_us % 1000000) + 1000000) % 1000000;

    if (conversion == 'f') {
        strbuf_printf(out, "%06d", (int)micros);
        return;
    }
    if (conversion == 'z' || conversion == 'Z')
        return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const size_t len = strftime(text, sizeof(text), format, tm);
#pragma GCC diagnostic pop
    strbuf_append(out, text, len);
}

static struct jinja_value call_strftime(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_value bound[JINJA_MAX_PARAMS];
    const int64_t below = run->wall_us % 1000000 < 0;
    const time_t seconds = (time_t)(run->wall_us / 1000000 - below);
    struct tm tm;

    if (!jinja_args_bind(run, "strftime_now", "format", 1, args, bound))
        return jinja_undefined(NULL);
    const struct jinja_string *format = jinja_args_string(run, bound[0]);
    if (format == NULL || localtime_r(&seconds, &tm) == NULL)
        jinja_run_fail(run, -EINVAL, "strftime_now wants a format");
    struct strbuf out = jinja_buffer(run);
    for (size_t at = 0; jinja_run_charge(run, 0) && at < format->len && !out.failed; at++) {
        const bool last = at + 1 == format->len;
        if (format->data[at] != '%' || last)
            strbuf_append_char(&out, format->data[at]);
        else if (strchr("aAwdbBmyYHIpMSfjUWcxXGuVzZDFTRehnts%", format->data[at + 1]) != NULL &&
                 format->data[at + 1] != '\0')
            print_time(&out, &tm, run->wall_us, format->data[++at]);
        else
            strbuf_append_char(&out, '%');
    }
    return jinja_string_take(run, &out);
}

static struct jinja_value call_cycler(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_cycler *cycler = jinja_run_alloc(run, 1, sizeof(*cycler));
    if (args->num == 0 || args->num_keywords > 0)
        jinja_run_fail(run, -EINVAL, "cycler wants items");
    for (size_t i = 0; i < args->num && jinja_run_ok(run); i++)
        jinja_list_push(run, &cycler->items, args->args[i]);
    if (!jinja_run_ok(run))
        return jinja_undefined(NULL);
    return (struct jinja_value){ .type = JINJA_CYCLER, .of.cycler = cycler };
}

static struct jinja_value call_joiner(struct jinja_run *run, const struct jinja_args *args)
{
    struct jinja_value bound[JINJA_MAX_PARAMS];
    struct jinja_joiner *joiner = jinja_run_alloc(run, 1, sizeof(*joiner));
    if (!jinja_args_bind(run, "joiner", "sep", 0, args, bound))
        return jinja_undefined(NULL);
    joiner->separator = bound[0].type == JINJA_MISSING ? jinja_string_over(run, ", ", 2) : bound[0];
    return (struct jinja_value){ .type = JINJA_JOINER, .of.joiner = joiner };
}

static const struct jinja_function functions[] = {
    { "range", call_range },           { "dict", make_dict },
    { "namespace", call_namespace },   { "raise_exception", call_raise },
    { "strftime_now", call_strftime }, { "cycler", call_cycler },
    { "joiner", call_joiner },
};

const struct jinja_function *jinja_function_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (strlen(functions[i].name) == len && memcmp(functions[i].name, name, len) == 0)
            return &functions[i];
    return NULL;
}

const struct jinja_string *jinja_macro_name(const struct jinja_macro *macro)
{
    return macro->name;
}

struct jinja_value jinja_function_attribute(struct jinja_run *run, struct jinja_value value,
                                            const struct jinja_string *name)
{
    const bool is_name = name->len == 4 && memcmp(name->data, "name", 4) == 0;
    if (value.type == JINJA_MACRO && is_name && value.of.macro->name == NULL)
        return jinja_none();
    if (value.type == JINJA_MACRO && is_name)
        return (struct jinja_value){ .type = JINJA_STRING, .of.string = value.of.macro->name };
    if (value.type == JINJA_CYCLER && name->len == 7 && memcmp(name->data, "current", 7) == 0)
        return value.of.cycler->items.items[value.of.cycler->at];
    return value.type == JINJA_CYCLER ? jinja_method_of(run, value, name) : jinja_missing();
}
