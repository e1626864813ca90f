/*
 * json.h - reading JSON of any origin through jansson, within limits
 *
 * A scan counts depth, values, keys and the length of numbers before the parser allocates
 * anything. Duplicate keys, text behind the value, NaN, comments, invalid UTF-8 and lone
 * surrogate escapes are refused. U+0000 is allowed in strings (use json_string_length()).
 * Any thread.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json_limits {
    uint32_t depth;  /* nesting of arrays and objects */
    uint32_t values; /* scalars, arrays and objects in all */
    uint32_t keys_per_object;
    uint32_t number_chars;
};

extern const struct json_limits json_limits_request; /* a client's body */
extern const struct json_limits json_limits_file;    /* a model's files: tokenizer.json and so on */

/*
 * Parse `len` bytes. On success *ret_value is a new reference that the caller gives back with
 * json_decref().
 *
 * Returns 0; -EINVAL for bytes that are not JSON or exceed a limit (`err` says which and
 * where; err->param is "utf8" when the text is not valid UTF-8); -ENOMEM.
 */
int json_read(const char *text, size_t len, const struct json_limits *limits, json_t **ret_value,
              struct error *err);

/*
 * Read and parse a file of at most `max_bytes`.
 *
 * Returns as json_read(), or the errno of opening and reading (-ENOENT is ordinary).
 */
int json_read_file(const char *path, size_t max_bytes, const struct json_limits *limits,
                   json_t **ret_value, struct error *err);

/* The whole of a regular file of at most `max_bytes`, malloc'ed with a NUL behind it. */
int file_read(const char *path, size_t max_bytes, char **ret_data, size_t *ret_len,
              struct error *err);

/* An integer given as 5 or 5.0; false for anything else or outside int64. */
bool json_get_int64(const json_t *value, int64_t *ret_value);

#endif
