#include "text/jinja/jinja_literal.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct reader {
    const char *raw;
    size_t len, at;
    char *out;
    size_t out_len;
    uint32_t line;
    struct error *err;
};

static void put(struct reader *r, const char *bytes, size_t len)
{
    memcpy(r->out + r->out_len, bytes, len);
    r->out_len += len;
}

static int put_codepoint(struct reader *r, uint32_t codepoint)
{
    char bytes[4];
    const int len = utf8_encode(codepoint, bytes);
    if (len == 0 && codepoint > 0x10ffff)
        return error_set(r->err, -EINVAL, "chat template, line %u: no character has number %x",
                         r->line, codepoint);
    if (len == 0)
        return error_set(r->err, -ENOTSUP, "chat template, line %u: a surrogate \\u%x in a string",
                         r->line, codepoint);
    put(r, bytes, (size_t)len);
    return 0;
}

static int read_hex(struct reader *r, size_t digits)
{
    uint32_t codepoint = 0;
    for (size_t i = 0; i < digits; i++, r->at++) {
        const char c = r->at < r->len ? r->raw[r->at] : ' ';
        if (!isxdigit((unsigned char)c))
            return error_set(r->err, -EINVAL, "chat template, line %u: an escape wants %zu digits",
                             r->line, digits);
        const int digit =
            isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
        codepoint = codepoint * 16 + (uint32_t)digit;
    }
    return put_codepoint(r, codepoint);
}

static int read_octal(struct reader *r)
{
    uint32_t codepoint = 0;
    for (int i = 0; i < 3 && r->at < r->len && r->raw[r->at] >= '0' && r->raw[r->at] <= '7'; i++)
        codepoint = codepoint * 8 + (uint32_t)(r->raw[r->at++] - '0');
    return put_codepoint(r, codepoint);
}

/*
 * jinja2 makes other characters \x, \u or \U escapes before Python resolves escapes, so that a
 * backslash in front of one escapes the backslash of that escape, whose digits remain as text.
 */
static int read_escaped_wide(struct reader *r)
{
    uint32_t codepoint;
    char digits[16];
    const int len = utf8_decode(r->raw + r->at, r->len - r->at, &codepoint);
    if (len < 1)
        return error_set(r->err, -EINVAL, "chat template, line %u: not UTF-8", r->line);
    const char *format = codepoint < 0x100     ? "\\x%02x"
                         : codepoint < 0x10000 ? "\\u%04x"
                                               : "\\U%08x";
    snprintf(digits, sizeof(digits), format, codepoint);
    put(r, digits, strlen(digits));
    r->at += (size_t)len;
    return 0;
}

/* Behind a backslash. */
static int read_escape(struct reader *r)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = r->raw[r->at];

    if (c >= '0' && c <= '7')
        return read_octal(r);
    if (c & 0x80)
        return read_escaped_wide(r);
    r->at++;
    switch (c) {
    case 'x':
        return read_hex(r, 2);
    case 'u':
        return read_hex(r, 4);
    case 'U':
        return read_hex(r, 8);
    case 'N':
        return error_set(r->err, -ENOTSUP, "chat template, line %u: \\N in a string", r->line);
    case '\n':
        return 0;
    default:
        break;
    }
    const char *hit = c == '\0' ? NULL : strchr(from, c);
    if (hit != NULL)
        put(r, &to[hit - from], 1);
    else
        put(r, (const char[]){ '\\', c }, 2);
    return 0;
}

int jinja_literal_text(struct arena *arena, const char *raw, size_t len, uint32_t line,
                       const char **ret_text, size_t *ret_len, struct error *err)
{
    /* The longest growth is a backslash and 2 bytes that become \x and 2 digits. */
    struct reader r = { .raw = raw, .len = len, .line = line, .err = err };
    r.out = arena_alloc(arena, len * 4 + 1);
    if (r.out == NULL)
        return error_set(err, -ENOMEM, "no memory for a chat template");
    while (r.at < len) {
        if (raw[r.at] != '\\' || r.at + 1 == len) {
            put(&r, &raw[r.at++], 1);
            continue;
        }
        r.at++;
        const int status = read_escape(&r);
        if (status < 0)
            return status;
    }
    *ret_text = r.out;
    *ret_len = r.out_len;
    return 0;
}

/* Digits with single underscores between them: (\d+_)*\d+ */
static size_t skip_digits(const char *text, size_t len, size_t at)
{
    const size_t from = at;
    while (at < len) {
        const bool digit = isdigit((unsigned char)text[at]);
        const bool joint = text[at] == '_' && at > from && text[at - 1] != '_' && at + 1 < len &&
                           isdigit((unsigned char)text[at + 1]);
        if (!digit && !joint)
            break;
        at++;
    }
    return at;
}

static size_t skip_exponent(const char *text, size_t len, size_t at)
{
    if (at >= len || (text[at] != 'e' && text[at] != 'E'))
        return at;
    size_t digits = at + 1;
    if (digits < len && (text[digits] == '+' || text[digits] == '-'))
        digits++;
    const size_t end = skip_digits(text, len, digits);
    return end > digits ? end : at;
}

size_t jinja_literal_float(const char *text, size_t len, double *ret_real)
{
    char plain[64];
    size_t num = 0;
    const size_t whole = skip_digits(text, len, 0);
    size_t end = whole;
    if (end > 0 && end + 1 < len && text[end] == '.' && isdigit((unsigned char)text[end + 1]))
        end = skip_digits(text, len, end + 1);
    end = skip_exponent(text, len, end);
    if (whole == 0 || end == whole)
        return 0;
    for (size_t i = 0; i < end; i++)
        if (text[i] != '_' && num < sizeof(plain) - 1)
            plain[num++] = text[i];
    plain[num] = '\0';
    *ret_real = strtod(plain, NULL);
    return end;
}

static int digit_of(char c)
{
    if (isdigit((unsigned char)c))
        return c - '0';
    return isalpha((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : 99;
}

static size_t read_digits(const char *text, size_t len, size_t at, int base, int64_t *ret)
{
    int64_t value = 0;
    size_t end = at;
    while (at < len) {
        if (text[at] == '_')
            at++;
        if (at >= len || digit_of(text[at]) >= base)
            break;
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit_of(text[at]), &value))
            return 0;
        end = ++at;
    }
    *ret = value;
    return end;
}

size_t jinja_literal_int(const char *text, size_t len, int64_t *ret_integer)
{
    const char mark = len > 2 && text[0] == '0' ? (char)tolower((unsigned char)text[1]) : ' ';
    const int base = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 10;
    if (base != 10) {
        const size_t end = read_digits(text, len, 2, base, ret_integer);
        if (end > 2)
            return end;
    }
    if (text[0] != '0')
        return read_digits(text, len, 0, 10, ret_integer);
    *ret_integer = 0;
    size_t end = 1;
    while (end < len &&
           (text[end] == '0' || (text[end] == '_' && end + 1 < len && text[end + 1] == '0')))
        end++;
    return end;
}
