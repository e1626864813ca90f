#include "text/jinja/jinja_math.h"

#include <errno.h>
#include <math.h>

#include "text/jinja/jinja_format.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_print.h"

static struct jinja_value refuse(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (a.type == JINJA_UNDEFINED)
        jinja_lookup_fail_undefined(run, a);
    else if (b.type == JINJA_UNDEFINED)
        jinja_lookup_fail_undefined(run, b);
    else
        jinja_run_fail(run, -EINVAL, "an operator does not fit %s and %s", jinja_type_name(a),
                       jinja_type_name(b));
    return jinja_undefined(NULL);
}

static struct jinja_value overflow(struct jinja_run *run)
{
    jinja_run_fail(run, -EINVAL, "an integer beyond 64 bits");
    return jinja_undefined(NULL);
}

static struct jinja_value zero_division(struct jinja_run *run)
{
    jinja_run_fail(run, -EINVAL, "division by zero");
    return jinja_undefined(NULL);
}

static struct jinja_value concat_lists(struct jinja_run *run, struct jinja_value a,
                                       struct jinja_value b)
{
    struct jinja_list *list = jinja_list_create(run);
    for (size_t i = 0; i < a.of.list->num && jinja_run_charge(run, 0); i++)
        jinja_list_push(run, list, a.of.list->items[i]);
    for (size_t i = 0; i < b.of.list->num && jinja_run_charge(run, 0); i++)
        jinja_list_push(run, list, b.of.list->items[i]);
    return jinja_list_value(list, a.type);
}

static struct jinja_value add(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    int64_t sum;
    if (a.type == JINJA_STRING && b.type == JINJA_STRING)
        return jinja_string_concat(run, a.of.string, b.of.string);
    if (a.type == b.type && (a.type == JINJA_LIST || a.type == JINJA_TUPLE))
        return concat_lists(run, a, b);
    if (!jinja_is_number(a) || !jinja_is_number(b))
        return refuse(run, a, b);
    if (a.type == JINJA_FLOAT || b.type == JINJA_FLOAT)
        return jinja_float(jinja_to_double(a) + jinja_to_double(b));
    return __builtin_add_overflow(a.of.integer, b.of.integer, &sum) ? overflow(run)
                                                                    : jinja_int(sum);
}

static struct jinja_value subtract(struct jinja_run *run, struct jinja_value a,
                                   struct jinja_value b)
{
    int64_t difference;
    if (!jinja_is_number(a) || !jinja_is_number(b))
        return refuse(run, a, b);
    if (a.type == JINJA_FLOAT || b.type == JINJA_FLOAT)
        return jinja_float(jinja_to_double(a) - jinja_to_double(b));
    return __builtin_sub_overflow(a.of.integer, b.of.integer, &difference) ? overflow(run)
                                                                           : jinja_int(difference);
}

static struct jinja_value repeat_string(struct jinja_run *run, const struct jinja_string *string,
                                        int64_t times)
{
    struct strbuf out = jinja_buffer(run);
    size_t total;
    if (times > 0 &&
        (__builtin_mul_overflow(string->len, (size_t)times, &total) || total > run->max_output))
        jinja_run_fail(run, -E2BIG, "a text of more than %zu bytes", run->max_output);
    else if (times > 0 && string->len > 0 && jinja_run_charge(run, total))
        for (int64_t i = 0; i < times && !out.failed; i++)
            strbuf_append(&out, string->data, string->len);
    return jinja_mark(run, jinja_string_take(run, &out), string->markup);
}

static struct jinja_value repeat_list(struct jinja_run *run, struct jinja_value value,
                                      int64_t times)
{
    struct jinja_list *list = jinja_list_create(run);
    for (int64_t n = 0; n < times && value.of.list->num > 0 && jinja_run_ok(run); n++)
        for (size_t i = 0; i < value.of.list->num && jinja_run_charge(run, 0); i++)
            jinja_list_push(run, list, value.of.list->items[i]);
    return jinja_list_value(list, value.type);
}

static struct jinja_value repeat(struct jinja_run *run, struct jinja_value value, int64_t times)
{
    if (value.type == JINJA_STRING)
        return repeat_string(run, value.of.string, times);
    return repeat_list(run, value, times);
}

static bool is_repeatable(struct jinja_value value)
{
    return value.type == JINJA_STRING || value.type == JINJA_LIST || value.type == JINJA_TUPLE;
}

static struct jinja_value multiply(struct jinja_run *run, struct jinja_value a,
                                   struct jinja_value b)
{
    int64_t product;
    if (is_repeatable(a) && jinja_is_integral(b))
        return repeat(run, a, b.of.integer);
    if (is_repeatable(b) && jinja_is_integral(a))
        return repeat(run, b, a.of.integer);
    if (!jinja_is_number(a) || !jinja_is_number(b))
        return refuse(run, a, b);
    if (a.type == JINJA_FLOAT || b.type == JINJA_FLOAT)
        return jinja_float(jinja_to_double(a) * jinja_to_double(b));
    return __builtin_mul_overflow(a.of.integer, b.of.integer, &product) ? overflow(run)
                                                                        : jinja_int(product);
}

static struct jinja_value divide(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (!jinja_is_number(a) || !jinja_is_number(b))
        return refuse(run, a, b);
    if (jinja_to_double(b) == 0)
        return zero_division(run);
    return jinja_float(jinja_to_double(a) / jinja_to_double(b));
}

/* Python's float_divmod(): the remainder has the sign of the divisor, the quotient is whole. */
static void divide_floats(double a, double b, double *ret_quotient, double *ret_rest)
{
    double rest = fmod(a, b);
    double quotient = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) {
        rest += b;
        quotient -= 1;
    } else if (rest == 0)
        rest = copysign(0, b);
    if (quotient != 0) {
        const double whole = floor(quotient);
        *ret_quotient = quotient - whole > 0.5 ? whole + 1 : whole;
    } else
        *ret_quotient = copysign(0, a / b);
    *ret_rest = rest;
}

static struct jinja_value divide_whole(struct jinja_run *run, struct jinja_value a,
                                       struct jinja_value b, bool want_rest)
{
    if (!jinja_is_number(a) || !jinja_is_number(b))
        return refuse(run, a, b);
    if (jinja_to_double(b) == 0)
        return zero_division(run);
    if (a.type == JINJA_FLOAT || b.type == JINJA_FLOAT) {
        double quotient, rest;
        divide_floats(jinja_to_double(a), jinja_to_double(b), &quotient, &rest);
        return jinja_float(want_rest ? rest : quotient);
    }
    if (b.of.integer == -1) /* INT64_MIN / -1 has no place */
        return want_rest ? jinja_int(0) : jinja_math_unary(run, JINJA_OP_NEGATIVE, a);
    int64_t quotient = a.of.integer / b.of.integer, rest = a.of.integer % b.of.integer;
    if (rest != 0 && (rest < 0) != (b.of.integer < 0)) {
        rest += b.of.integer;
        quotient--;
    }
    return jinja_int(want_rest ? rest : quotient);
}

static struct jinja_value modulo(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (a.type == JINJA_STRING)
        return jinja_format_percent(run, a.of.string, b);
    return divide_whole(run, a, b, true);
}

static struct jinja_value power_of_integer(struct jinja_run *run, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return overflow(run);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
            return overflow(run);
    }
    return jinja_int(result);
}

static struct jinja_value power(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (!jinja_is_number(a) || !jinja_is_number(b))
        return refuse(run, a, b);
    if (jinja_is_integral(a) && jinja_is_integral(b) && b.of.integer >= 0) {
        if (a.of.integer >= -1 && a.of.integer <= 1 && b.of.integer > 1)
            return jinja_int(b.of.integer % 2 == 0 ? a.of.integer * a.of.integer : a.of.integer);
        return power_of_integer(run, a.of.integer, b.of.integer);
    }
    const double x = jinja_to_double(a), y = jinja_to_double(b);
    if (x == 0 && y < 0)
        return zero_division(run);
    const double result = pow(x, y);
    if (isnan(result) && !isnan(x) && !isnan(y))
        jinja_run_fail(run, -ENOTSUP, "complex numbers are not supported");
    if (isinf(result) && !isinf(x) && !isinf(y))
        jinja_run_fail(run, -EINVAL, "a result is out of range");
    return jinja_float(result);
}

struct jinja_value jinja_math_binary(struct jinja_run *run, enum jinja_op op, struct jinja_value a,
                                     struct jinja_value b)
{
    if (!jinja_run_ok(run))
        return jinja_undefined(NULL);
    switch (op) {
    case JINJA_OP_ADD:
        return add(run, a, b);
    case JINJA_OP_SUBTRACT:
        return subtract(run, a, b);
    case JINJA_OP_MULTIPLY:
        return multiply(run, a, b);
    case JINJA_OP_DIVIDE:
        return divide(run, a, b);
    case JINJA_OP_FLOOR_DIVIDE:
        return divide_whole(run, a, b, false);
    case JINJA_OP_MODULO:
        return modulo(run, a, b);
    case JINJA_OP_POWER:
        return power(run, a, b);
    default:
        break;
    }
    a = jinja_mark(run, jinja_print_value(run, a), false);
    b = jinja_mark(run, jinja_print_value(run, b), false);
    return jinja_run_ok(run) ? jinja_string_concat(run, a.of.string, b.of.string) : a;
}

struct jinja_value jinja_math_unary(struct jinja_run *run, enum jinja_op op, struct jinja_value a)
{
    int64_t negative;
    if (op == JINJA_OP_NOT)
        return jinja_bool(!jinja_truth(run, a));
    if (!jinja_is_number(a))
        return refuse(run, a, a);
    if (a.type == JINJA_FLOAT)
        return jinja_float(op == JINJA_OP_NEGATIVE ? -a.of.real : a.of.real);
    if (op == JINJA_OP_POSITIVE)
        return jinja_int(a.of.integer);
    return __builtin_sub_overflow(0, a.of.integer, &negative) ? overflow(run) : jinja_int(negative);
}

bool jinja_math_compare(struct jinja_run *run, enum jinja_op op, struct jinja_value a,
                        struct jinja_value b)
{
    const bool nan =
        (a.type == JINJA_FLOAT && isnan(a.of.real)) || (b.type == JINJA_FLOAT && isnan(b.of.real));
    switch (op) {
    case JINJA_OP_EQUAL:
        return jinja_equal(run, a, b);
    case JINJA_OP_NOT_EQUAL:
        return !jinja_equal(run, a, b);
    case JINJA_OP_IN:
        return jinja_contains(run, b, a);
    case JINJA_OP_NOT_IN:
        return !jinja_contains(run, b, a);
    default:
        break;
    }
    if (a.type == JINJA_UNDEFINED || b.type == JINJA_UNDEFINED) {
        refuse(run, a, b);
        return false;
    }
    const int order = jinja_compare(run, a, b);
    if (nan || !jinja_run_ok(run))
        return false;
    switch (op) {
    case JINJA_OP_LESS:
        return order < 0;
    case JINJA_OP_LESS_EQUAL:
        return order <= 0;
    case JINJA_OP_GREATER:
        return order > 0;
    default:
        return order >= 0;
    }
}
