#include "text/jinja/jinja_tests.h"

#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_filters.h"
#include "text/jinja/jinja_math.h"
#include "text/jinja/jinja_print.h"
#include "text/jinja/jinja_text.h"

typedef bool test_fn(struct jinja_run *run, struct jinja_value value, struct jinja_value arg);

struct jinja_test {
    const char *name, *param; /* of its argument, "" for none */
    test_fn *call;
};

static bool test_defined(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type != JINJA_UNDEFINED;
}

static bool test_undefined(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_UNDEFINED;
}

static bool test_none(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_NONE;
}

static bool test_boolean(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_BOOL;
}

static bool test_true(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_BOOL && value.of.integer != 0;
}

static bool test_false(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_BOOL && value.of.integer == 0;
}

static bool test_integer(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_INT;
}

static bool test_float(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_FLOAT;
}

static bool test_number(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return jinja_is_number(value);
}

static bool test_string(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_STRING;
}

static bool test_mapping(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_DICT;
}

/* What has a length and can be subscripted, as Python sees it: also a dict, an undefined. */
static bool test_sequence(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return jinja_length(value) >= 0 && value.type != JINJA_VIEW;
}

static bool test_iterable(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return jinja_is_iterable(value);
}

static bool test_callable(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_MACRO || value.type == JINJA_METHOD ||
           value.type == JINJA_FUNCTION || value.type == JINJA_LOOP || value.type == JINJA_JOINER ||
           value.type == JINJA_UNDEFINED;
}

static bool test_escaped(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run, (void)arg;
    return value.type == JINJA_STRING && value.of.string->markup;
}

static bool test_sameas(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)run;
    return jinja_same(value, arg);
}

static bool test_in(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_contains(run, arg, value);
}

static bool is_case(struct jinja_run *run, struct jinja_value value, enum jinja_class wanted)
{
    const struct jinja_value text = jinja_print_value(run, value);
    return text.type == JINJA_STRING && jinja_run_charge(run, text.of.string->len * 8) &&
           jinja_text_is(text.of.string->data, text.of.string->len, wanted);
}

static bool test_lower(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)arg;
    return is_case(run, value, JINJA_IS_LOWER);
}

static bool test_upper(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)arg;
    return is_case(run, value, JINJA_IS_UPPER);
}

/* value % by == rest, by the language's own modulo. */
static bool has_rest(struct jinja_run *run, struct jinja_value value, struct jinja_value by,
                     int64_t rest)
{
    const struct jinja_value found = jinja_math_binary(run, JINJA_OP_MODULO, value, by);
    return jinja_run_ok(run) && jinja_equal(run, found, jinja_int(rest));
}

static bool test_odd(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)arg;
    return has_rest(run, value, jinja_int(2), 1);
}

static bool test_even(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)arg;
    return has_rest(run, value, jinja_int(2), 0);
}

static bool test_divisibleby(struct jinja_run *run, struct jinja_value value,
                             struct jinja_value arg)
{
    return has_rest(run, value, arg, 0);
}

static bool test_eq(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_math_compare(run, JINJA_OP_EQUAL, value, arg);
}

static bool test_ne(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_math_compare(run, JINJA_OP_NOT_EQUAL, value, arg);
}

static bool test_lt(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_math_compare(run, JINJA_OP_LESS, value, arg);
}

static bool test_le(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_math_compare(run, JINJA_OP_LESS_EQUAL, value, arg);
}

static bool test_gt(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_math_compare(run, JINJA_OP_GREATER, value, arg);
}

static bool test_ge(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    return jinja_math_compare(run, JINJA_OP_GREATER_EQUAL, value, arg);
}

/* jinja2 looks the value up in a dict of names. */
static bool is_name(struct jinja_run *run, struct jinja_value value)
{
    if (value.type == JINJA_LIST || value.type == JINJA_DICT)
        jinja_run_fail(run, -EINVAL, "a %s is no name", jinja_type_name(value));
    return value.type == JINJA_STRING;
}

static bool test_filter(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)arg;
    return is_name(run, value) &&
           jinja_filter_find(value.of.string->data, value.of.string->len) != NULL;
}

static bool test_test(struct jinja_run *run, struct jinja_value value, struct jinja_value arg)
{
    (void)arg;
    return is_name(run, value) &&
           jinja_test_find(value.of.string->data, value.of.string->len) != NULL;
}

static const struct jinja_test tests[] = {
    { "defined", "", test_defined },   { "undefined", "", test_undefined },
    { "none", "", test_none },         { "boolean", "", test_boolean },
    { "true", "", test_true },         { "false", "", test_false },
    { "integer", "", test_integer },   { "float", "", test_float },
    { "number", "", test_number },     { "string", "", test_string },
    { "mapping", "", test_mapping },   { "sequence", "", test_sequence },
    { "iterable", "", test_iterable }, { "callable", "", test_callable },
    { "escaped", "", test_escaped },   { "sameas", "other", test_sameas },
    { "in", "seq", test_in },          { "lower", "", test_lower },
    { "upper", "", test_upper },       { "odd", "", test_odd },
    { "even", "", test_even },         { "divisibleby", "num", test_divisibleby },
    { "eq", "other", test_eq },        { "equalto", "other", test_eq },
    { "==", "other", test_eq },        { "ne", "other", test_ne },
    { "!=", "other", test_ne },        { "lt", "other", test_lt },
    { "lessthan", "other", test_lt },  { "<", "other", test_lt },
    { "le", "other", test_le },        { "<=", "other", test_le },
    { "gt", "other", test_gt },        { "greaterthan", "other", test_gt },
    { ">", "other", test_gt },         { "ge", "other", test_ge },
    { ">=", "other", test_ge },        { "filter", "", test_filter },
    { "test", "", test_test },
};

const struct jinja_test *jinja_test_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (strlen(tests[i].name) == len && memcmp(tests[i].name, name, len) == 0)
            return &tests[i];
    return NULL;
}

bool jinja_test_apply(struct jinja_run *run, const struct jinja_test *test,
                      struct jinja_value value, const struct jinja_args *args)
{
    struct jinja_value in_order[JINJA_MAX_PARAMS];
    if (!jinja_args_bind(run, test->name, test->param, test->param[0] != '\0', args, in_order))
        return false;
    return test->call(run, value, in_order[0]);
}
