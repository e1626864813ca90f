#include "proto/wire/wire_check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

struct wire_place wire_place(const char *format, ...)
{
    struct wire_place place;
    va_list args;
    va_start(args, format);
    vsnprintf(place.text, sizeof(place.text), format, args);
    va_end(args);
    return place;
}

static size_t echo_limit(const char *text, size_t len)
{
    return len <= WIRE_ECHO_BYTES ? len : utf8_valid_prefix(text, WIRE_ECHO_BYTES);
}

const char *wire_echo(const char *text, size_t len, char out[WIRE_ECHO_ROOM])
{
    const size_t shown = echo_limit(text, len);
    char *at = out;
    for (size_t i = 0; i < shown; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            at += snprintf(at, 5, "\\x%02x", c);
        else
            *at++ = (char)c;
    }
    strcpy(at, shown < len ? "..." : "");
    return out;
}

static const char *type_word(const json_t *value)
{
    static const char *const words[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null",
    };
    return words[json_typeof(value)];
}

int wire_refuse_type(struct wire_parser *p, const char *param, const json_t *found,
                     const char *wanted)
{
    char echo[WIRE_ECHO_ROOM];
    if (json_is_string(found))
        return wire_error_set(
            p->error, WIRE_INVALID_TYPE, param, "%s is the string '%s', must be %s.", param,
            wire_echo(json_string_value(found), json_string_length(found), echo), wanted);
    if (json_is_real(found))
        return wire_error_set(p->error, WIRE_INVALID_TYPE, param, "%s is %.17g, must be %s.", param,
                              json_real_value(found), wanted);
    return wire_error_set(p->error, WIRE_INVALID_TYPE, param, "%s is %s, must be %s.", param,
                          type_word(found), wanted);
}

int wire_refuse_unsupported(struct wire_parser *p, const char *param)
{
    return wire_error_set(p->error, WIRE_UNSUPPORTED_PARAMETER, param,
                          "%s is not supported by this server.", param);
}

int wire_refuse_memory(struct wire_parser *p)
{
    return wire_error_set(p->error, WIRE_INTERNAL_ERROR, "",
                          "There is no memory for this request.");
}

int wire_check_bool(struct wire_parser *p, const char *param, const json_t *value, bool *ret_value)
{
    if (!json_is_boolean(value))
        return wire_refuse_type(p, param, value, "true or false");
    *ret_value = json_is_true(value);
    return 0;
}

int wire_check_int(struct wire_parser *p, const char *param, const json_t *value, int64_t min,
                   int64_t max, int64_t *ret_value)
{
    int64_t found;
    if (!json_get_int64(value, &found))
        return wire_refuse_type(p, param, value, "an integer");
    if (found < min)
        return wire_error_set(p->error, WIRE_INTEGER_BELOW_MIN, param,
                              "%s is %lld, at least %lld is allowed.", param, (long long)found,
                              (long long)min);
    if (found > max)
        return wire_error_set(p->error, WIRE_INTEGER_ABOVE_MAX, param,
                              "%s is %lld, at most %lld is allowed.", param, (long long)found,
                              (long long)max);
    *ret_value = found;
    return 0;
}

int wire_check_real(struct wire_parser *p, const char *param, const json_t *value,
                    const struct wire_range *range, double *ret_value)
{
    if (!json_is_number(value))
        return wire_refuse_type(p, param, value, "a number");
    const double found = json_number_value(value);
    if (range->open ? !(found > range->min) : !(found >= range->min))
        return wire_error_set(p->error, WIRE_DECIMAL_BELOW_MIN, param,
                              "%s is %.9g, %s %g is allowed.", param, found,
                              range->open ? "only more than" : "at least", range->min);
    if (!(found <= range->max))
        return wire_error_set(p->error, WIRE_DECIMAL_ABOVE_MAX, param,
                              "%s is %.9g, at most %g is allowed.", param, found, range->max);
    *ret_value = found;
    return 0;
}

int wire_check_string(struct wire_parser *p, const char *param, const json_t *value, size_t max_len)
{
    if (!json_is_string(value))
        return wire_refuse_type(p, param, value, "a string");
    if (max_len != 0 && json_string_length(value) > max_len)
        return wire_error_set(p->error, WIRE_STRING_ABOVE_MAX_LENGTH, param,
                              "%s has %zu bytes, at most %zu are allowed.", param,
                              json_string_length(value), max_len);
    return 0;
}

int wire_check_name(struct wire_parser *p, const char *param, const json_t *value, size_t max_len)
{
    const int r = wire_check_string(p, param, value, max_len);
    if (r == 0 && memchr(json_string_value(value), '\0', json_string_length(value)) != NULL)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                              "%s holds the character U+0000, which is not allowed there.", param);
    return r;
}

int wire_check_array(struct wire_parser *p, const char *param, const json_t *value, size_t max_num)
{
    if (!json_is_array(value))
        return wire_refuse_type(p, param, value, "an array");
    if (json_array_size(value) > max_num)
        return wire_error_set(p->error, WIRE_ARRAY_ABOVE_MAX_LENGTH, param,
                              "%s has %zu elements, at most %zu are allowed.", param,
                              json_array_size(value), max_num);
    return 0;
}

int wire_check_object(struct wire_parser *p, const char *param, const json_t *value)
{
    return json_is_object(value) ? 0 : wire_refuse_type(p, param, value, "an object");
}

json_t *wire_get(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}
