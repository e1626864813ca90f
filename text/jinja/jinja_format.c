#include "text/jinja/jinja_format.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_print.h"

enum { MAX_WIDTH = 1000000, MAX_PRECISION = 1000 };

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
    if (fill->num_chars != 1 || pad > MAX_WIDTH) {
        jinja_run_fail(run, -EINVAL, "padding wants one character and at most %d of it", MAX_WIDTH);
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

/* One conversion of either language. */
struct spec {
    bool given, left, plus, space, alternate, zero, comma;
    int64_t width, precision; /* precision -1: none */
    char type, align;
    struct jinja_value fill;
};

static struct jinja_value repr_value(struct jinja_run *run, struct jinja_value value)
{
    struct strbuf out = jinja_buffer(run);
    jinja_print_repr(run, &out, value);
    return jinja_string_take(run, &out);
}

static const char *sign_of(const struct spec *spec, bool negative)
{
    return negative ? "-" : spec->plus ? "+" : spec->space ? " " : "";
}

static void append_grouped(struct strbuf *out, const char *digits, bool comma)
{
    const size_t whole = strspn(digits, "0123456789");
    for (size_t i = 0; i < whole; i++) {
        if (comma && i > 0 && (whole - i) % 3 == 0)
            strbuf_append_char(out, ',');
        strbuf_append_char(out, digits[i]);
    }
    strbuf_append_text(out, digits + whole);
}

/* Sign and digits, zeros between them up to the width if asked for. */
static struct jinja_value finish_number(struct jinja_run *run, const struct spec *spec,
                                        const char *sign, const char *digits)
{
    struct strbuf body = jinja_buffer(run), out = jinja_buffer(run);
    append_grouped(&body, digits, spec->comma);
    strbuf_append_text(&out, sign);
    if (spec->zero && !spec->left)
        repeat(&out, "0", 1, spec->width - (int64_t)(body.len + out.len));
    strbuf_append(&out, body.data, body.len);
    strbuf_finish(&body);
    return jinja_string_take(run, &out);
}

static struct jinja_value format_integer(struct jinja_run *run, const struct spec *spec,
                                         int64_t value)
{
    char digits[80], text[96];
    const uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    const char *prefix = "";
    int num = 0;

    if (spec->type == 'b')
        for (uint64_t rest = size; rest > 0 || num == 0; rest >>= 1)
            digits[num++] = (char)('0' + (rest & 1));
    for (int i = 0; i < num / 2; i++) {
        const char c = digits[i];
        digits[i] = digits[num - 1 - i];
        digits[num - 1 - i] = c;
    }
    digits[num] = '\0';
    if (spec->type == 'x' || spec->type == 'X')
        snprintf(digits, sizeof(digits), spec->type == 'x' ? "%" PRIx64 : "%" PRIX64, size);
    else if (spec->type == 'o')
        snprintf(digits, sizeof(digits), "%" PRIo64, size);
    else if (spec->type != 'b')
        snprintf(digits, sizeof(digits), "%" PRIu64, size);
    if (spec->alternate && strchr("xXob", spec->type) != NULL)
        prefix = spec->type == 'x'   ? "0x"
                 : spec->type == 'X' ? "0X"
                 : spec->type == 'o' ? "0o"
                                     : "0b";
    snprintf(text, sizeof(text), "%s%s", sign_of(spec, value < 0), prefix);
    return finish_number(run, spec, text, digits);
}

static struct jinja_value format_real(struct jinja_run *run, const struct spec *spec, double value)
{
    char pattern[16], *digits = NULL;
    const int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    const char type = spec->type == '%' ? 'f' : spec->type;

    if (spec->precision > MAX_PRECISION) {
        jinja_run_fail(run, -EINVAL, "a precision beyond %d", MAX_PRECISION);
        return jinja_undefined(NULL);
    }
    snprintf(pattern, sizeof(pattern), "%%%s.*%c%s", spec->alternate ? "#" : "", type,
             spec->type == '%' ? "%%" : "");
    const double size = fabs(spec->type == '%' ? value * 100 : value);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const int len = asprintf(&digits, pattern, precision, size);
#pragma GCC diagnostic pop
    if (len < 0) {
        jinja_run_fail(run, -ENOMEM, "no memory for a number");
        return jinja_undefined(NULL);
    }
    const struct jinja_value text = finish_number(run, spec, sign_of(spec, signbit(value)), digits);
    free(digits);
    return text;
}

static struct jinja_value cut(struct jinja_run *run, const struct spec *spec,
                              struct jinja_value text)
{
    if (text.type != JINJA_STRING || spec->precision < 0 ||
        (size_t)spec->precision >= text.of.string->num_chars)
        return text;
    return jinja_substring(run, text.of.string, 0, (size_t)spec->precision);
}

static struct jinja_value refuse(struct jinja_run *run, const struct spec *spec,
                                 struct jinja_value value)
{
    jinja_run_fail(run, -EINVAL, "format '%c' does not fit a %s",
                   spec->type >= 0x20 && spec->type < 0x7f ? spec->type : '?',
                   jinja_type_name(value));
    return jinja_undefined(NULL);
}

static struct jinja_value percent_char(struct jinja_run *run, const struct spec *spec,
                                       struct jinja_value value)
{
    char utf8[4];
    if (value.type == JINJA_STRING && value.of.string->num_chars == 1)
        return value;
    if (!jinja_is_integral(value) || value.of.integer < 0 || value.of.integer > 0x10ffff)
        return refuse(run, spec, value);
    return jinja_string_copy(run, utf8, (size_t)utf8_encode((uint32_t)value.of.integer, utf8));
}

static struct jinja_value percent_integer(struct jinja_run *run, const struct spec *spec,
                                          struct jinja_value value)
{
    const bool decimal = strchr("diu", spec->type) != NULL;
    if (value.type == JINJA_FLOAT && decimal && fabs(value.of.real) < 9.2e18)
        value = jinja_int((int64_t)value.of.real);
    return jinja_is_integral(value) ? format_integer(run, spec, value.of.integer)
                                    : refuse(run, spec, value);
}

static struct jinja_value percent_convert(struct jinja_run *run, const struct spec *spec,
                                          struct jinja_value value)
{
    struct jinja_value text;
    if (strchr("diuoxX", spec->type) != NULL)
        text = percent_integer(run, spec, value);
    else if (strchr("eEfFgG", spec->type) != NULL)
        text = jinja_is_number(value) ? format_real(run, spec, jinja_to_double(value))
                                      : refuse(run, spec, value);
    else if (spec->type == 'c')
        text = percent_char(run, spec, value);
    else if (spec->type == 's')
        text = cut(run, spec, jinja_print_value(run, value));
    else if (spec->type == 'r')
        text = cut(run, spec, repr_value(run, value));
    else
        return refuse(run, spec, value);
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
        size = size > MAX_WIDTH ? size : size * 10 + (here(p) - '0');
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
    struct spec spec = { .precision = -1 };
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
        spec.width = spec.width < -MAX_WIDTH ? MAX_WIDTH + 1 : -spec.width;
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

static void read_spec(struct jinja_run *run, const char *text, size_t len, struct spec *spec)
{
    uint32_t codepoint;
    size_t at = 0;
    const int first = len > 0 ? utf8_decode(text, len, &codepoint) : 0;

    *spec = (struct spec){ .given = len > 0, .precision = -1 };
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
        spec->width = spec->width > MAX_WIDTH ? spec->width : spec->width * 10 + (text[at] - '0');
    spec->comma = at < len && text[at] == ',' && ++at;
    if (at < len && text[at] == '.') {
        spec->precision = 0;
        for (at++; at < len && isdigit((unsigned char)text[at]); at++)
            spec->precision = spec->precision > MAX_WIDTH ? spec->precision
                                                          : spec->precision * 10 + (text[at] - '0');
    }
    if (at < len)
        spec->type = text[at++];
    if (at < len)
        jinja_run_fail(run, -EINVAL, "a format specification is invalid");
}

static struct jinja_value braces_convert(struct jinja_run *run, const struct spec *spec,
                                         struct jinja_value value)
{
    const bool number = jinja_is_number(value);
    struct jinja_value text;
    if (!spec->given)
        return jinja_print_value(run, value);
    if (jinja_is_integral(value) && spec->type != '\0' && strchr("dxXob", spec->type) != NULL)
        text = format_integer(run, spec, value.of.integer);
    else if (jinja_is_integral(value) && spec->type == '\0' && spec->precision < 0)
        text = format_integer(run, spec, value.of.integer);
    else if (jinja_is_number(value) && spec->type != '\0' && strchr("eEfFgG%", spec->type) != NULL)
        text = format_real(run, spec, jinja_to_double(value));
    else if (value.type == JINJA_STRING && (spec->type == '\0' || spec->type == 's'))
        text = cut(run, spec, value);
    else if (value.type == JINJA_FLOAT && spec->type == '\0' && spec->precision < 0)
        text = jinja_print_value(run, value);
    else
        return refuse(run, spec, value);
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
    struct spec spec;

    while (path < len && field[path] != '!' && field[path] != ':')
        path++;
    while (name < path && field[name] != '.' && field[name] != '[')
        name++;
    struct jinja_value value = find_argument(b, field, name);
    value = follow_path(b, value, field + name, path - name);
    at = path;
    if (at + 1 < len && field[at] == '!') {
        value = field[at + 1] == 'r' ? repr_value(b->run, value) : jinja_print_value(b->run, value);
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
