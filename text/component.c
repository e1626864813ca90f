#include "text/component.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/strbuf.h"

static const char *const type_names[] = {
    [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
    [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
    [JSON_FALSE] = "false",        [JSON_NULL] = "null",
};

static const char *dot(const struct component *c)
{
    return c->where[0] != '\0' ? "." : "";
}

int component_wrong(const struct component *c, const char *key, const json_t *found,
                    const char *wanted)
{
    return error_set(c->err, -EINVAL, "tokenizer.json: %s%s%s is %s, wanted %s", c->where, dot(c),
                     key, found == NULL ? "missing" : type_names[json_typeof(found)], wanted);
}

int component_get(const struct component *c, const char *key, json_type type, json_t **ret_value)
{
    json_t *value = json_object_get(c->json, key);
    if (value == NULL || json_typeof(value) != type)
        return component_wrong(c, key, value, type_names[type]);
    *ret_value = value;
    return 0;
}

int component_bool(const struct component *c, const char *key, bool initial, bool *ret_value)
{
    const json_t *value = json_object_get(c->json, key);
    if (value != NULL && !json_is_boolean(value) && !json_is_null(value))
        return component_wrong(c, key, value, "true or false");
    *ret_value = json_is_boolean(value) ? json_is_true(value) : initial;
    return 0;
}

int component_int(const struct component *c, const char *key, int64_t max, int64_t *ret_value)
{
    const json_t *value = json_object_get(c->json, key);
    int64_t number;
    if (value == NULL || !json_get_int64(value, &number))
        return component_wrong(c, key, value, "an integer");
    if (number < 0 || number > max)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s%s%s is %lld, wanted 0 to %lld",
                         c->where, dot(c), key, (long long)number, (long long)max);
    *ret_value = number;
    return 0;
}

int component_unset(const struct component *c, const char *key)
{
    const json_t *value = json_object_get(c->json, key);
    if (value == NULL || json_is_null(value) || json_is_false(value) ||
        (json_is_string(value) && json_string_length(value) == 0) ||
        (json_is_number(value) && !(json_number_value(value) != 0.0)))
        return 0;
    return error_set(c->err, -ENOTSUP, "tokenizer.json: %s%s%s is set (%s), which is not supported",
                     c->where, dot(c), key, type_names[json_typeof(value)]);
}

static int open_object(const json_t *json, struct component *c)
{
    if (!json_is_object(json))
        return error_set(c->err, -EINVAL, "tokenizer.json: %s is %s, wanted an object", c->where,
                         json == NULL ? "missing" : type_names[json_typeof(json)]);
    c->json = json;
    return 0;
}

int component_child(const struct component *parent, const char *key, struct component *ret)
{
    struct component child = { .err = parent->err };
    snprintf(child.where, sizeof(child.where), "%.60s%s%.30s", parent->where, dot(parent), key);
    const int r = open_object(json_object_get(parent->json, key), &child);
    if (r == 0)
        *ret = child;
    return r;
}

int component_member(const struct component *parent, const char *key, const json_t *list, size_t i,
                     struct component *ret)
{
    struct component child = { .err = parent->err };
    snprintf(child.where, sizeof(child.where), "%.48s%s%.20s[%zu]", parent->where, dot(parent), key,
             i);
    const int r = open_object(json_array_get(list, i), &child);
    if (r == 0)
        *ret = child;
    return r;
}

struct reader {
    const char *list_key;
    const struct component_row *rows;
    size_t num_rows;
    void *target;
};

static int refuse(const struct component *c, const struct reader *reader, const char *type)
{
    struct strbuf known = { .limit = 256 };
    for (size_t i = 0; i < reader->num_rows; i++)
        strbuf_printf(&known, "%s%s", i > 0 ? ", " : "", reader->rows[i].type);
    error_set(c->err, -ENOTSUP, "tokenizer.json: %s.type is \"%.80s\", supported are %s", c->where,
              type, known.data != NULL ? known.data : "none");
    strbuf_finish(&known);
    return -ENOTSUP;
}

static int read_one(const struct component *c, const struct reader *reader, int depth);

static int read_sequence(const struct component *c, const struct reader *reader, int depth)
{
    json_t *list;
    struct component member;
    int r = component_get(c, reader->list_key, JSON_ARRAY, &list);
    if (r == 0 && depth == COMPONENT_DEPTH_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: sequences nested deeper than %d",
                         c->where, COMPONENT_DEPTH_MAX);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        r = component_member(c, reader->list_key, list, i, &member);
        if (r == 0)
            r = read_one(&member, reader, depth + 1);
    }
    return r;
}

static int read_one(const struct component *c, const struct reader *reader, int depth)
{
    json_t *value;
    const int r = component_get(c, "type", JSON_STRING, &value);
    if (r < 0)
        return r;
    const char *type = json_string_value(value);
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(c, reader, depth);
    for (size_t i = 0; i < reader->num_rows; i++)
        if (strcmp(type, reader->rows[i].type) == 0)
            return reader->rows[i].read(c, reader->target);
    return refuse(c, reader, type);
}

int component_read(const json_t *root, const char *key, const char *list_key,
                   const struct component_row *rows, size_t num_rows, void *target,
                   struct error *err)
{
    const struct component top = { .json = root, .err = err };
    const struct reader reader = { list_key, rows, num_rows, target };
    const json_t *value = json_object_get(root, key);
    struct component part;
    if (value == NULL || json_is_null(value))
        return 0;
    const int r = component_child(&top, key, &part);
    return r < 0 ? r : read_one(&part, &reader, 0);
}
