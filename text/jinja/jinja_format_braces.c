/* The str.format() of jinja_format.h. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_format.h"
#include "text/jinja/jinja_format_spec.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_print.h"

struct braces {
    struct jinja_run *run;
    const struct jinja_args *args;
    size_t num_auto;
    bool numbered;
};

static struct jinja_value find_argument(struct braces *b, const char *name, size_t len)
{
    size_t index = 0, digits = 0;
    while (digits < len && digits < 6 && isdigit((unsigned char)name[digits]))
        index = index * 10 + (size_t)(name[digits++] - '0');
    if (len == 0)
        index = b->num_auto++;
    if (digits > 0 && digits == len)
        b->numbered = true;
    if (b->numbered && b->num_auto > 0)
        jinja_run_fail(b->run, -EINVAL, "{} and {0} cannot be mixed in a format");
    if (digits == len && index < b->args->num)
        return b->args->args[index];
    for (size_t i = 0; i < b->args->num_keywords && len > 0; i++) {
        const struct jinja_keyword *keyword = &b->args->keywords[i];
        if (keyword->name->len == len && memcmp(keyword->name->data, name, len) == 0)
            return keyword->value;
    }
    jinja_run_fail(b->run, -EINVAL, "a format names an argument that is not there");
    return jinja_undefined(NULL);
}

static struct jinja_value follow_path(struct braces *b, struct jinja_value value, const char *path,
                                      size_t len)
{
    for (size_t at = 0; at < len && jinja_run_ok(b->run);) {
        const bool item = path[at++] == '[';
        const size_t begin = at;
        while (at < len && (item ? path[at] != ']' : path[at] != '.' && path[at] != '['))
            at++;
        struct jinja_value key = jinja_string_copy(b->run, path + begin, at - begin);
        const bool number = item && at > begin && at - begin < 10 &&
                            strspn(path + begin, "0123456789") >= at - begin;
        if (key.type != JINJA_STRING)
            break;
        if (number)
            key = jinja_int(strtol(path + begin, NULL, 10));
        value = item ? jinja_lookup_subscript(b->run, value, key)
                     : jinja_lookup_attribute(b->run, value, key.of.string);
        at += item;
    }
    return value;
}

static void read_spec(struct jinja_run *run, const char *text, size_t len,
                      struct jinja_format_spec *spec)
{
    uint32_t codepoint;
    size_t at = 0;
    const int first = len > 0 ? utf8_decode(text, len, &codepoint) : 0;

    *spec = (struct jinja_format_spec){ .given = len > 0, .precision = -1 };
    if (first > 0 && (size_t)first < len && strchr("<>^=", text[first]) != NULL) {
        spec->fill = jinja_string_copy(run, text, (size_t)first);
        at = (size_t)first;
    }
    if (at < len && strchr("<>^=", text[at]) != NULL)
        spec->align = text[at++];
    if (at < len && strchr("+- ", text[at]) != NULL) {
        spec->plus = text[at] == '+';
        spec->space = text[at] == ' ';
        at++;
    }
    spec->alternate = at < len && text[at] == '#' && ++at;
    spec->zero = at < len && text[at] == '0' && ++at && spec->align == '\0';
    for (; at < len && isdigit((unsigned char)text[at]); at++)
        spec->width = spec->width > JINJA_FORMAT_WIDTH_MAX ? spec->width
                                                           : spec->width * 10 + (text[at] - '0');
    spec->comma = at < len && text[at] == ',' && ++at;
    if (at < len && text[at] == '.') {
        spec->precision = 0;
        for (at++; at < len && isdigit((unsigned char)text[at]); at++)
            spec->precision = spec->precision > JINJA_FORMAT_WIDTH_MAX
                                  ? spec->precision
                                  : spec->precision * 10 + (text[at] - '0');
    }
    if (at < len)
        spec->type = text[at++];
    if (at < len)
        jinja_run_fail(run, -EINVAL, "a format specification is invalid");
}

static struct jinja_value braces_convert(struct jinja_run *run,
                                         const struct jinja_format_spec *spec,
                                         struct jinja_value value)
{
    const bool number = jinja_is_number(value);
    struct jinja_value text;
    if (!spec->given)
        return jinja_print_value(run, value);
    if (jinja_is_integral(value) && spec->type != '\0' && strchr("dxXob", spec->type) != NULL)
        text = jinja_format_integer(run, spec, value.of.integer);
    else if (jinja_is_integral(value) && spec->type == '\0' && spec->precision < 0)
        text = jinja_format_integer(run, spec, value.of.integer);
    else if (jinja_is_number(value) && spec->type != '\0' && strchr("eEfFgG%", spec->type) != NULL)
        text = jinja_format_real(run, spec, jinja_to_double(value));
    else if (value.type == JINJA_STRING && (spec->type == '\0' || spec->type == 's'))
        text = jinja_format_cut(run, spec, value);
    else if (value.type == JINJA_FLOAT && spec->type == '\0' && spec->precision < 0)
        text = jinja_print_value(run, value);
    else
        return jinja_format_refuse(run, spec, value);
    if (text.type != JINJA_STRING)
        return text;
    const char align =
        spec->align == '=' || spec->align == '\0' ? (number ? '>' : '<') : spec->align;
    return jinja_format_pad(run, text.of.string, spec->width,
                            spec->fill.type == JINJA_STRING ? spec->fill.of.string : NULL, align);
}

/* A field without its braces: name, !conversion, :specification. */
static void braces_field(struct braces *b, const char *field, size_t len, struct strbuf *out)
{
    size_t name = 0, path = 0, at;
    struct jinja_format_spec spec;

    while (path < len && field[path] != '!' && field[path] != ':')
        path++;
    while (name < path && field[name] != '.' && field[name] != '[')
        name++;
    struct jinja_value value = find_argument(b, field, name);
    value = follow_path(b, value, field + name, path - name);
    at = path;
    if (at + 1 < len && field[at] == '!') {
        value = field[at + 1] == 'r' ? jinja_format_repr(b->run, value)
                                     : jinja_print_value(b->run, value);
        at += 2;
    }
    if (at < len && field[at] != ':')
        jinja_run_fail(b->run, -EINVAL, "a format field is invalid");
    read_spec(b->run, field + at + (at < len), len - at - (at < len), &spec);
    if (!jinja_run_ok(b->run))
        return;
    const struct jinja_value text = braces_convert(b->run, &spec, value);
    if (text.type == JINJA_STRING)
        strbuf_append(out, text.of.string->data, text.of.string->len);
}

struct jinja_value jinja_format_braces(struct jinja_run *run, const struct jinja_string *format,
                                       const struct jinja_args *args)
{
    struct braces b = { .run = run, .args = args };
    struct strbuf out = jinja_buffer(run);

    for (size_t at = 0; at < format->len && jinja_run_ok(run) && !out.failed;) {
        const char c = format->data[at++];
        const bool twice = at < format->len && format->data[at] == c;
        if ((c == '{' || c == '}') && twice) {
            strbuf_append_char(&out, c);
            at++;
        } else if (c == '{') {
            const char *end = memchr(format->data + at, '}', format->len - at);
            const size_t len = end == NULL ? 0 : (size_t)(end - format->data) - at;
            if (end == NULL || memchr(format->data + at, '{', len) != NULL)
                jinja_run_fail(run, -EINVAL, "a format field has no end, or one inside it");
            else
                braces_field(&b, format->data + at, len, &out);
            at += len + 1;
        } else if (c == '}')
            jinja_run_fail(run, -EINVAL, "a single '}' in a format");
        else
            strbuf_append_char(&out, c);
    }
    return jinja_mark(run, jinja_string_take(run, &out), format->markup);
}
