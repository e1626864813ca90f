#include "text/jinja/jinja_lookup.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_functions.h"
#include "text/jinja/jinja_loop.h"
#include "text/jinja/jinja_methods.h"

void jinja_lookup_fail_undefined(struct jinja_run *run, struct jinja_value undefined)
{
    const struct jinja_string *name = undefined.of.string;
    if (name == NULL)
        jinja_run_fail(run, -EINVAL, "a value is undefined");
    else
        jinja_run_fail(run, -EINVAL, "'%.*s' is undefined",
                       (int)(name->len > 100 ? 100 : name->len), name->data);
}

/* What Python's getattr() finds; MISSING for an AttributeError. */
static struct jinja_value own_attribute(struct jinja_run *run, struct jinja_value value,
                                        const struct jinja_string *name)
{
    const struct jinja_entry *entry;
    switch (value.type) {
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        return jinja_method_of(run, value, name);
    case JINJA_NAMESPACE:
        entry = jinja_dict_find_text(run, value.of.dict, name->data, name->len);
        return entry == NULL ? jinja_missing() : entry->value;
    case JINJA_LOOP:
        return jinja_loop_attribute(run, value.of.loop, name);
    case JINJA_MACRO:
    case JINJA_CYCLER:
        return jinja_function_attribute(run, value, name);
    default:
        return jinja_missing();
    }
}

struct jinja_value jinja_lookup_attribute(struct jinja_run *run, struct jinja_value value,
                                          struct jinja_string *name)
{
    if (value.type == JINJA_UNDEFINED || value.type == JINJA_MISSING) {
        jinja_lookup_fail_undefined(run, value);
        return value;
    }
    struct jinja_value found = own_attribute(run, value, name);
    if (found.type == JINJA_MISSING)
        found =
            jinja_item(run, value, (struct jinja_value){ .type = JINJA_STRING, .of.string = name });
    return found.type == JINJA_MISSING ? jinja_undefined(name) : found;
}

struct jinja_value jinja_lookup_subscript(struct jinja_run *run, struct jinja_value value,
                                          struct jinja_value key)
{
    if (value.type == JINJA_UNDEFINED || value.type == JINJA_MISSING) {
        jinja_lookup_fail_undefined(run, value);
        return value;
    }
    struct jinja_value found = jinja_item(run, value, key);
    if (found.type == JINJA_MISSING && key.type == JINJA_STRING)
        found = own_attribute(run, value, key.of.string);
    if (found.type == JINJA_MISSING)
        return jinja_undefined(key.type == JINJA_STRING ? key.of.string : NULL);
    return found;
}

static struct jinja_value path_part(struct jinja_run *run, const char *text, size_t len)
{
    int64_t index = 0;
    size_t i = 0;
    for (; i < len && i < 18 && isdigit((unsigned char)text[i]); i++)
        index = index * 10 + (text[i] - '0');
    return i == len && len > 0 ? jinja_int(index) : jinja_string_over(run, text, len);
}

struct jinja_value jinja_lookup_path(struct jinja_run *run, struct jinja_value value,
                                     struct jinja_value path, struct jinja_value otherwise)
{
    const bool has_default = otherwise.type != JINJA_MISSING && otherwise.type != JINJA_NONE;

    if (path.type == JINJA_MISSING || path.type == JINJA_NONE)
        return value;
    if (path.type != JINJA_STRING) {
        value = jinja_lookup_subscript(run, value, path);
        return value.type == JINJA_UNDEFINED && has_default ? otherwise : value;
    }
    const char *text = path.of.string->data;
    size_t len = path.of.string->len;
    for (;;) {
        const char *dot = memchr(text, '.', len);
        const size_t part = dot == NULL ? len : (size_t)(dot - text);
        value = jinja_lookup_subscript(run, value, path_part(run, text, part));
        if (value.type == JINJA_UNDEFINED && has_default)
            value = otherwise;
        if (dot == NULL || !jinja_run_ok(run))
            return value;
        text += part + 1;
        len -= part + 1;
    }
}
