#include "text/jinja/jinja_format_spec.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_print.h"

struct jinja_value jinja_format_repr(struct jinja_run *run, struct jinja_value value)
{
    struct strbuf out = jinja_buffer(run);
    jinja_print_repr(run, &out, value);
    return jinja_string_take(run, &out);
}

static const char *sign_of(const struct jinja_format_spec *spec, bool negative)
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
static struct jinja_value finish_number(struct jinja_run *run, const struct jinja_format_spec *spec,
                                        const char *sign, const char *digits)
{
    struct strbuf body = jinja_buffer(run), out = jinja_buffer(run);
    append_grouped(&body, digits, spec->comma);
    strbuf_append_text(&out, sign);
    if (spec->zero && !spec->left)
        for (int64_t n = spec->width - (int64_t)(body.len + out.len); n > 0 && !out.failed; n--)
            strbuf_append_char(&out, '0');
    strbuf_append(&out, body.data, body.len);
    strbuf_finish(&body);
    return jinja_string_take(run, &out);
}

struct jinja_value jinja_format_integer(struct jinja_run *run, const struct jinja_format_spec *spec,
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

struct jinja_value jinja_format_real(struct jinja_run *run, const struct jinja_format_spec *spec,
                                     double value)
{
    char pattern[16], *digits = NULL;
    const int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    const char type = spec->type == '%' ? 'f' : spec->type;

    if (spec->precision > JINJA_FORMAT_PRECISION_MAX) {
        jinja_run_fail(run, -EINVAL, "a precision beyond %d", JINJA_FORMAT_PRECISION_MAX);
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

struct jinja_value jinja_format_cut(struct jinja_run *run, const struct jinja_format_spec *spec,
                                    struct jinja_value text)
{
    if (text.type != JINJA_STRING || spec->precision < 0 ||
        (size_t)spec->precision >= text.of.string->num_chars)
        return text;
    return jinja_substring(run, text.of.string, 0, (size_t)spec->precision);
}

struct jinja_value jinja_format_refuse(struct jinja_run *run, const struct jinja_format_spec *spec,
                                       struct jinja_value value)
{
    jinja_run_fail(run, -EINVAL, "format '%c' does not fit a %s",
                   spec->type >= 0x20 && spec->type < 0x7f ? spec->type : '?',
                   jinja_type_name(value));
    return jinja_undefined(NULL);
}
