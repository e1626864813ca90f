#include "text/jinja/jinja_number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_text.h"

enum { MAX_DIGITS = 512 };

/* Without white space around it and with underscores between digits taken out; false: no number. */
static bool plain_digits(const struct jinja_string *string, char text[MAX_DIGITS])
{
    const size_t skip = jinja_text_leading_space(string->data, string->len);
    const char *data = string->data + skip;
    const size_t len = jinja_text_trimmed(data, string->len - skip);
    size_t num = 0;

    if (len == 0 || len >= MAX_DIGITS)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '_' && i > 0 && i + 1 < len && isalnum((unsigned char)data[i - 1]) &&
            isalnum((unsigned char)data[i + 1]))
            continue;
        if (!isalnum((unsigned char)data[i]) && strchr("+-.", data[i]) == NULL)
            return false;
        if (data[i] == '\0')
            return false;
        text[num++] = data[i];
    }
    text[num] = '\0';
    return true;
}

static bool read_float(const struct jinja_string *string, double *ret_real)
{
    static const char *const words[] = { "inf", "infinity", "nan" };
    char text[MAX_DIGITS], *end;
    if (!plain_digits(string, text))
        return false;
    const char *body = text + (text[0] == '+' || text[0] == '-');
    bool word = false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        word = word || strcasecmp(body, words[i]) == 0;
    if (!word && body[strspn(body, "0123456789.eE+-")] != '\0')
        return false;
    *ret_real = strtod(text, &end);
    return end != text && *end == '\0';
}

/* False: not an integer in this base. */
static bool read_int(struct jinja_run *run, const struct jinja_string *string, int64_t base,
                     int64_t *ret_integer)
{
    char text[MAX_DIGITS], *end;
    if (base < 2 || base > 36 || !plain_digits(string, text))
        return false;
    char *body = text + (text[0] == '+' || text[0] == '-');
    const char mark = body[0] == '0' ? (char)tolower((unsigned char)body[1]) : ' ';
    if ((mark == 'b' && base == 2) || (mark == 'o' && base == 8))
        memmove(body, body + 2, strlen(body + 2) + 1);
    if (!isalnum((unsigned char)body[0]))
        return false;
    errno = 0;
    *ret_integer = strtoll(text, &end, (int)base);
    if (*end != '\0')
        return false;
    if (errno == ERANGE)
        jinja_run_fail(run, -EINVAL, "an integer beyond 64 bits");
    return true;
}

static struct jinja_value truncate_float(struct jinja_run *run, double real,
                                         struct jinja_value otherwise)
{
    if (isnan(real) || isinf(real))
        return otherwise;
    if (fabs(real) >= 9223372036854775808.0)
        jinja_run_fail(run, -EINVAL, "an integer beyond 64 bits");
    return jinja_run_ok(run) ? jinja_int((int64_t)real) : otherwise;
}

struct jinja_value jinja_number_int(struct jinja_run *run, struct jinja_value value,
                                    struct jinja_value otherwise, int64_t base)
{
    int64_t integer;
    double real;

    if (jinja_is_integral(value))
        return jinja_int(value.of.integer);
    if (value.type == JINJA_UNDEFINED)
        jinja_lookup_fail_undefined(run, value);
    if (value.type == JINJA_FLOAT && isinf(value.of.real))
        jinja_run_fail(run, -EINVAL, "infinity is no integer");
    if (value.type == JINJA_FLOAT)
        return truncate_float(run, value.of.real, otherwise);
    if (value.type != JINJA_STRING)
        return otherwise;
    if (read_int(run, value.of.string, base, &integer))
        return jinja_int(integer);
    return read_float(value.of.string, &real) ? truncate_float(run, real, otherwise) : otherwise;
}

struct jinja_value jinja_number_float(struct jinja_run *run, struct jinja_value value,
                                      struct jinja_value otherwise)
{
    double real;
    if (value.type == JINJA_UNDEFINED)
        jinja_lookup_fail_undefined(run, value);
    if (jinja_is_number(value))
        return jinja_float(jinja_to_double(value));
    if (value.type == JINJA_STRING && read_float(value.of.string, &real))
        return jinja_float(real);
    return otherwise;
}

/* To tens, hundreds, ...: half goes to the even one. */
static int64_t round_integer(int64_t value, int64_t precision)
{
    int64_t unit = 1;
    if (precision < -18)
        return 0;
    for (; precision < 0; precision++)
        unit *= 10;
    int64_t quotient = value / unit, rest = value % unit;
    if (rest < 0) {
        rest += unit;
        quotient--;
    }
    if (rest > unit - rest || (rest == unit - rest && quotient % 2 != 0))
        quotient++;
    return (int64_t)((uint64_t)quotient * (uint64_t)unit);
}

/* printf rounds the exact binary value half to even, as Python does. */
static double round_double(double value, int64_t precision)
{
    char text[512];
    if (isnan(value) || isinf(value) || precision > 22 + 300)
        return value;
    if (precision < 0) {
        const double unit = pow(10, (double)-precision);
        return isinf(unit) ? copysign(0, value) : nearbyint(value / unit) * unit;
    }
    const int len = snprintf(text, sizeof(text), "%.*f", (int)precision, value);
    return len > 0 && (size_t)len < sizeof(text) ? strtod(text, NULL) : value;
}

struct jinja_value jinja_number_round(struct jinja_run *run, struct jinja_value value,
                                      int64_t precision, struct jinja_value method)
{
    const bool ceiling = jinja_is_text(method, "ceil"), flooring = jinja_is_text(method, "floor");
    if (method.type != JINJA_MISSING && !ceiling && !flooring && !jinja_is_text(method, "common"))
        jinja_run_fail(run, -EINVAL, "round knows 'common', 'ceil' and 'floor'");
    if (value.type == JINJA_UNDEFINED)
        jinja_lookup_fail_undefined(run, value);
    if (!jinja_is_number(value))
        jinja_run_fail(run, -EINVAL, "round wants a number, not %s", jinja_type_name(value));
    if (!jinja_run_ok(run))
        return value;
    if (ceiling || flooring) {
        const double unit = pow(10, (double)precision), scaled = jinja_to_double(value) * unit;
        return jinja_float((ceiling ? ceil(scaled) : floor(scaled)) / unit);
    }
    if (value.type == JINJA_FLOAT)
        return jinja_float(round_double(value.of.real, precision));
    return jinja_int(precision >= 0 ? value.of.integer
                                    : round_integer(value.of.integer, precision));
}
