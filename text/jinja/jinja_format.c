#include "text/jinja/jinja_format.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_format_spec.h"
#include "text/jinja/jinja_print.h"

static void repeat(struct strbuf *out, const char *bytes, size_t len, int64_t times)
{
    for (int64_t i = 0; i < times && !out->failed; i++)
        strbuf_append(out, bytes, len);
}

struct jinja_value jinja_format_pad(struct jinja_run *run, const struct jinja_string *string,
                                    int64_t width, const struct jinja_string *fill, char align)
{
    static const struct jinja_string space = { .data = " ", .len = 1, .num_chars = 1 };
    static const struct jinja_string zero = { .data = "0", .len = 1, .num_chars = 1 };
    const int64_t num = (int64_t)string->num_chars, pad = width > num ? width - num : 0;
    int64_t left = 0;
    size_t sign = 0;

    fill = align == '0' ? &zero : fill == NULL ? &space : fill;
    if (fill->num_chars != 1 || pad > JINJA_FORMAT_WIDTH_MAX) {
        jinja_run_fail(run, -EINVAL, "padding wants one character and at most %d of it",
                       JINJA_FORMAT_WIDTH_MAX);
        return jinja_undefined(NULL);
    }
    if (align == '>' || align == '0')
        left = pad;
    else if (align == '^')
        left = pad / 2;
    else if (align == 'c')
        left = pad / 2 + (pad & width & 1);
    if (align == '0' && string->len > 0 && (string->data[0] == '-' || string->data[0] == '+'))
        sign = 1;
    struct strbuf out = jinja_buffer(run);
    strbuf_append(&out, string->data, sign);
    repeat(&out, fill->data, fill->len, left);
    strbuf_append(&out, string->data + sign, string->len - sign);
    repeat(&out, fill->data, fill->len, pad - left);
    return jinja_mark(run, jinja_string_take(run, &out), string->markup);
}

static struct jinja_value percent_char(struct jinja_run *run, const struct jinja_format_spec *spec,
                                       struct jinja_value value)
{
    char utf8[4];
    if (value.type == JINJA_STRING && value.of.string->num_chars == 1)
        return value;
    if (!jinja_is_integral(value) || value.of.integer < 0 || value.of.integer > 0x10ffff)
        return jinja_format_refuse(run, spec, value);
    return jinja_string_copy(run, utf8, (size_t)utf8_encode((uint32_t)value.of.integer, utf8));
}

static struct jinja_value percent_integer(struct jinja_run *run,
                                          const struct jinja_format_spec *spec,
                                          struct jinja_value value)
{
    const bool decimal = strchr("diu", spec->type) != NULL;
    if (value.type == JINJA_FLOAT && decimal && fabs(value.of.real) < 9.2e18)
        value = jinja_int((int64_t)value.of.real);
    return jinja_is_integral(value) ? jinja_format_integer(run, spec, value.of.integer)
                                    : jinja_format_refuse(run, spec, value);
}

static struct jinja_value percent_convert(struct jinja_run *run,
                                          const struct jinja_format_spec *spec,
                                          struct jinja_value value)
{
    struct jinja_value text;
    if (strchr("diuoxX", spec->type) != NULL)
        text = percent_integer(run, spec, value);
    else if (strchr("eEfFgG", spec->type) != NULL)
        text = jinja_is_number(value) ? jinja_format_real(run, spec, jinja_to_double(value))
                                      : jinja_format_refuse(run, spec, value);
    else if (spec->type == 'c')
        text = percent_char(run, spec, value);
    else if (spec->type == 's')
        text = jinja_format_cut(run, spec, jinja_print_value(run, value));
    else if (spec->type == 'r')
        text = jinja_format_cut(run, spec, jinja_format_repr(run, value));
    else
        return jinja_format_refuse(run, spec, value);
    if (text.type != JINJA_STRING)
        return text;
    return jinja_format_pad(run, text.of.string, spec->width, NULL, spec->left ? '<' : '>');
}

struct percent {
    struct jinja_run *run;
    const struct jinja_string *format;
    size_t at;
    struct jinja_value args;
    size_t num_used;
};

static char here(const struct percent *p)
{
    return p->at < p->format->len ? p->format->data[p->at] : '\0';
}

static struct jinja_value next_arg(struct percent *p)
{
    const bool tuple = p->args.type == JINJA_TUPLE;
    const size_t num = tuple ? p->args.of.list->num : 1;
    if (p->num_used >= num) {
        jinja_run_fail(p->run, -EINVAL, "not enough arguments for a format string");
        return jinja_undefined(NULL);
    }
    return tuple ? p->args.of.list->items[p->num_used++] : (p->num_used++, p->args);
}

static int64_t read_size(struct percent *p)
{
    int64_t size = 0;
    if (here(p) == '*') {
        p->at++;
        size = jinja_args_int(p->run, next_arg(p), 0);
    }
    for (; isdigit((unsigned char)here(p)); p->at++)
        size = size > JINJA_FORMAT_WIDTH_MAX ? size : size * 10 + (here(p) - '0');
    return size;
}

/* %(name)s: the value comes from a dict, and the dict counts as used. */
static bool read_key(struct percent *p, struct jinja_value *ret_value)
{
    if (here(p) != '(')
        return false;
    const char *begin = p->format->data + p->at + 1;
    const char *end = memchr(begin, ')', p->format->len - p->at - 1);
    if (end == NULL || p->args.type != JINJA_DICT) {
        jinja_run_fail(p->run, -EINVAL, "a format with a name wants a dict");
        return false;
    }
    const struct jinja_entry *entry =
        jinja_dict_find_text(p->run, p->args.of.dict, begin, (size_t)(end - begin));
    if (entry == NULL)
        jinja_run_fail(p->run, -EINVAL, "a format names a key that is not there");
    else
        *ret_value = entry->value;
    p->at += (size_t)(end - begin) + 2;
    return true;
}

static void percent_one(struct percent *p, struct strbuf *out)
{
    struct jinja_format_spec spec = { .precision = -1 };
    struct jinja_value value = jinja_undefined(NULL);

    const bool keyed = read_key(p, &value);
    for (; here(p) != '\0' && strchr("-+ #0", here(p)) != NULL; p->at++) {
        spec.left |= here(p) == '-';
        spec.plus |= here(p) == '+';
        spec.space |= here(p) == ' ';
        spec.alternate |= here(p) == '#';
        spec.zero |= here(p) == '0';
    }
    spec.width = read_size(p);
    if (spec.width < 0) {
        spec.left = true;
        spec.width =
            spec.width < -JINJA_FORMAT_WIDTH_MAX ? JINJA_FORMAT_WIDTH_MAX + 1 : -spec.width;
    }
    if (here(p) == '.') {
        p->at++;
        spec.precision = read_size(p);
    }
    while (here(p) != '\0' && strchr("hlL", here(p)) != NULL)
        p->at++;
    spec.type = here(p);
    p->at++;
    if (spec.type == '%') {
        strbuf_append_char(out, '%');
        return;
    }
    if (spec.type == '\0')
        jinja_run_fail(p->run, -EINVAL, "a format string is incomplete");
    if (!keyed && jinja_run_ok(p->run))
        value = next_arg(p);
    if (!jinja_run_ok(p->run))
        return;
    const struct jinja_value text = percent_convert(p->run, &spec, value);
    if (text.type == JINJA_STRING)
        strbuf_append(out, text.of.string->data, text.of.string->len);
}

struct jinja_value jinja_format_percent(struct jinja_run *run, const struct jinja_string *format,
                                        struct jinja_value args)
{
    struct percent p = { .run = run, .format = format, .args = args };
    struct strbuf out = jinja_buffer(run);

    while (p.at < format->len && jinja_run_ok(run) && !out.failed) {
        const char c = format->data[p.at++];
        if (c == '%')
            percent_one(&p, &out);
        else
            strbuf_append_char(&out, c);
    }
    const size_t num = args.type == JINJA_TUPLE ? args.of.list->num : 1;
    const bool may_remain = args.type == JINJA_DICT || args.type == JINJA_LIST ||
                            args.type == JINJA_RANGE || args.type == JINJA_UNDEFINED;
    if (p.num_used < num && !may_remain)
        jinja_run_fail(run, -EINVAL, "not all arguments of a format string were used");
    return jinja_mark(run, jinja_string_take(run, &out), format->markup);
}
