#include "text/jinja/jinja_value.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct jinja_value jinja_undefined(struct jinja_string *name)
{
    return (struct jinja_value){ .type = JINJA_UNDEFINED, .of.string = name };
}

struct jinja_value jinja_none(void)
{
    return (struct jinja_value){ .type = JINJA_NONE };
}

struct jinja_value jinja_bool(bool value)
{
    return (struct jinja_value){ .type = JINJA_BOOL, .of.integer = value };
}

struct jinja_value jinja_int(int64_t value)
{
    return (struct jinja_value){ .type = JINJA_INT, .of.integer = value };
}

struct jinja_value jinja_float(double value)
{
    return (struct jinja_value){ .type = JINJA_FLOAT, .of.real = value };
}

struct jinja_value jinja_missing(void)
{
    return (struct jinja_value){ .type = JINJA_MISSING };
}

struct jinja_value jinja_list_value(struct jinja_list *list, enum jinja_type type)
{
    if (list == NULL)
        return jinja_undefined(NULL);
    return (struct jinja_value){ .type = type, .of.list = list };
}

struct jinja_value jinja_dict_value(struct jinja_dict *dict)
{
    if (dict == NULL)
        return jinja_undefined(NULL);
    return (struct jinja_value){ .type = JINJA_DICT, .of.dict = dict };
}

struct jinja_list *jinja_list_create(struct jinja_run *run)
{
    return jinja_run_alloc(run, 1, sizeof(struct jinja_list));
}

void jinja_list_push(struct jinja_run *run, struct jinja_list *list, struct jinja_value value)
{
    if (list == NULL)
        return;
    struct jinja_value *items =
        jinja_run_grow(run, list->items, list->num, &list->cap, sizeof(*items));
    if (items == NULL)
        return;
    list->items = items;
    list->items[list->num++] = value;
}

static struct jinja_value from_json_text(struct jinja_run *run, const char *text, size_t len,
                                         bool copy)
{
    run->input_bytes += len;
    return copy ? jinja_string_copy(run, text, len) : jinja_string_over(run, text, len);
}

static struct jinja_value from_json_array(struct jinja_run *run, const json_t *json, bool copy)
{
    struct jinja_list *list = jinja_list_create(run);
    for (size_t i = 0; i < json_array_size(json) && jinja_run_ok(run); i++)
        jinja_list_push(run, list, jinja_from_json(run, json_array_get(json, i), copy));
    return jinja_list_value(list, JINJA_LIST);
}

static struct jinja_value from_json_object(struct jinja_run *run, const json_t *json, bool copy)
{
    struct jinja_dict *dict = jinja_dict_create(run);
    json_t *object = (json_t *)json; /* jansson's iterators do not change it */
    for (void *at = json_object_iter(object); at != NULL && jinja_run_ok(run);
         at = json_object_iter_next(object, at)) {
        const struct jinja_value key =
            from_json_text(run, json_object_iter_key(at), json_object_iter_key_len(at), copy);
        if (jinja_run_ok(run))
            jinja_dict_set(run, dict, key, jinja_from_json(run, json_object_iter_value(at), copy));
    }
    return jinja_dict_value(dict);
}

static struct jinja_value from_json_container(struct jinja_run *run, const json_t *json, bool copy)
{
    struct jinja_value value = jinja_undefined(NULL);
    if (!jinja_run_enter(run))
        return value;
    value =
        json_is_array(json) ? from_json_array(run, json, copy) : from_json_object(run, json, copy);
    jinja_run_leave(run);
    return value;
}

struct jinja_value jinja_from_json(struct jinja_run *run, const json_t *json, bool copy)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return from_json_container(run, json, copy);
    case JSON_STRING:
        return from_json_text(run, json_string_value(json), json_string_length(json), copy);
    case JSON_INTEGER:
        return jinja_int(json_integer_value(json));
    case JSON_REAL:
        return jinja_float(json_real_value(json));
    case JSON_TRUE:
    case JSON_FALSE:
        return jinja_bool(json_is_true(json));
    case JSON_NULL:
        break;
    }
    return jinja_none();
}

const char *jinja_type_name(struct jinja_value value)
{
    static const char *const names[] = {
        [JINJA_UNDEFINED] = "Undefined", [JINJA_NONE] = "NoneType",
        [JINJA_BOOL] = "bool",           [JINJA_INT] = "int",
        [JINJA_FLOAT] = "float",         [JINJA_STRING] = "str",
        [JINJA_LIST] = "list",           [JINJA_TUPLE] = "tuple",
        [JINJA_DICT] = "dict",           [JINJA_VIEW] = "dict view",
        [JINJA_RANGE] = "range",         [JINJA_ITERATOR] = "iterator",
        [JINJA_NAMESPACE] = "namespace", [JINJA_MACRO] = "macro",
        [JINJA_METHOD] = "method",       [JINJA_FUNCTION] = "function",
        [JINJA_LOOP] = "loop",           [JINJA_CYCLER] = "cycler",
        [JINJA_JOINER] = "joiner",       [JINJA_MISSING] = "missing",
    };
    return names[value.type];
}

bool jinja_is_text(struct jinja_value value, const char *text)
{
    return value.type == JINJA_STRING && value.of.string->len == strlen(text) &&
           memcmp(value.of.string->data, text, value.of.string->len) == 0;
}

bool jinja_is_integral(struct jinja_value value)
{
    return value.type == JINJA_INT || value.type == JINJA_BOOL;
}

bool jinja_is_number(struct jinja_value value)
{
    return jinja_is_integral(value) || value.type == JINJA_FLOAT;
}

double jinja_to_double(struct jinja_value number)
{
    return number.type == JINJA_FLOAT ? number.of.real : (double)number.of.integer;
}

bool jinja_truth(struct jinja_run *run, struct jinja_value value)
{
    (void)run;
    switch (value.type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
    case JINJA_MISSING:
        return false;
    case JINJA_BOOL:
    case JINJA_INT:
        return value.of.integer != 0;
    case JINJA_FLOAT:
        return value.of.real != 0;
    default:
        break;
    }
    return jinja_length(value) != 0; /* -1 for what has no length, which is true */
}

/* Mixed comparisons are exact: the 64-bit mantissa of long double holds every int64. */
static int compare_numbers(struct jinja_value a, struct jinja_value b)
{
    if (jinja_is_integral(a) && jinja_is_integral(b))
        return (a.of.integer > b.of.integer) - (a.of.integer < b.of.integer);
    const long double x = a.type == JINJA_FLOAT ? a.of.real : (long double)a.of.integer;
    const long double y = b.type == JINJA_FLOAT ? b.of.real : (long double)b.of.integer;
    return (x > y) - (x < y);
}

static bool is_nan(struct jinja_value value)
{
    return value.type == JINJA_FLOAT && isnan(value.of.real);
}

static bool equal_lists(struct jinja_run *run, const struct jinja_list *a,
                        const struct jinja_list *b)
{
    bool equal = a->num == b->num;
    for (size_t i = 0; equal && i < a->num && jinja_run_ok(run); i++)
        equal = jinja_equal(run, a->items[i], b->items[i]);
    return equal;
}

static bool equal_dicts(struct jinja_run *run, const struct jinja_dict *a,
                        const struct jinja_dict *b)
{
    bool equal = a->num == b->num;
    for (size_t i = 0; equal && i < a->num && jinja_run_ok(run); i++) {
        const struct jinja_entry *other = jinja_dict_find(run, b, a->entries[i].key);
        equal = other != NULL && jinja_equal(run, a->entries[i].value, other->value);
    }
    return equal;
}

static bool equal_ranges(const struct jinja_range *a, const struct jinja_range *b)
{
    return a->num == b->num && (a->num == 0 || a->start == b->start) &&
           (a->num <= 1 || a->step == b->step);
}

static bool equal_strings(struct jinja_run *run, const struct jinja_string *a,
                          const struct jinja_string *b)
{
    return a->len == b->len && jinja_run_charge(run, a->len) &&
           memcmp(a->data, b->data, a->len) == 0;
}

static bool equal_containers(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (!jinja_run_enter(run))
        return false;
    const bool equal = a.type == JINJA_DICT ? equal_dicts(run, a.of.dict, b.of.dict)
                                            : equal_lists(run, a.of.list, b.of.list);
    jinja_run_leave(run);
    return equal;
}

bool jinja_equal(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (jinja_is_number(a) && jinja_is_number(b))
        return !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
    case JINJA_MISSING:
        return true;
    case JINJA_STRING:
        return equal_strings(run, a.of.string, b.of.string);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        return equal_containers(run, a, b);
    case JINJA_RANGE:
        return equal_ranges(a.of.range, b.of.range);
    default:
        return a.of.list == b.of.list; /* the same object */
    }
}

/* CPython keeps one object for each of -5 ... 256, so these are identical and others are not. */
bool jinja_same(struct jinja_value a, struct jinja_value b)
{
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case JINJA_NONE:
        return true;
    case JINJA_BOOL:
        return a.of.integer == b.of.integer;
    case JINJA_INT:
        return a.of.integer == b.of.integer && a.of.integer >= -5 && a.of.integer <= 256;
    case JINJA_FLOAT:
        return false;
    case JINJA_STRING:
        return a.of.string->data == b.of.string->data && a.of.string->len == b.of.string->len;
    default:
        return a.of.list == b.of.list;
    }
}

static int compare_strings(struct jinja_run *run, const struct jinja_string *a,
                           const struct jinja_string *b)
{
    const size_t len = a->len < b->len ? a->len : b->len;
    if (!jinja_run_charge(run, len))
        return 0;
    const int order = len == 0 ? 0 : memcmp(a->data, b->data, len);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static int compare_lists(struct jinja_run *run, const struct jinja_list *a,
                         const struct jinja_list *b)
{
    int order = 0;
    if (!jinja_run_enter(run))
        return 0;
    for (size_t i = 0; order == 0 && jinja_run_ok(run); i++) {
        if (i == a->num || i == b->num) {
            order = (a->num > b->num) - (a->num < b->num);
            break;
        }
        if (!jinja_equal(run, a->items[i], b->items[i]))
            order = jinja_compare(run, a->items[i], b->items[i]);
    }
    jinja_run_leave(run);
    return order;
}

int jinja_compare(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    if (jinja_is_number(a) && jinja_is_number(b))
        return compare_numbers(a, b);
    if (a.type == JINJA_STRING && b.type == JINJA_STRING)
        return compare_strings(run, a.of.string, b.of.string);
    if (a.type == b.type && (a.type == JINJA_LIST || a.type == JINJA_TUPLE))
        return compare_lists(run, a.of.list, b.of.list);
    jinja_run_fail(run, -EINVAL, "%s and %s cannot be ordered", jinja_type_name(a),
                   jinja_type_name(b));
    return 0;
}
