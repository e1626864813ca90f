/*
 * component.h - reading the parts of a tokenizer.json: objects with a "type", alone or in lists
 *
 * normalizer, pre_tokenizer, post_processor and decoder are each null, one component, or a
 * "Sequence" of them. A kind of part is a table of rows (type name, reader); what no row names
 * is refused by its name. Every error names the file, the key, what was found and wanted.
 */
#ifndef TEXT_COMPONENT_H
#define TEXT_COMPONENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { COMPONENT_WHERE_BYTES = 96, COMPONENT_DEPTH_MAX = 4 };

struct component {
    const json_t *json;                /* an object */
    char where[COMPONENT_WHERE_BYTES]; /* "pre_tokenizer.pretokenizers[0]" */
    struct error *err;
};

struct component_row {
    const char *type;
    int (*read)(const struct component *component, void *target);
};

/* Read what `root`.`key` holds, members of sequences (their list is called `list_key`) in
 * order. A null or absent part calls nothing. Returns 0, -EINVAL, -ENOTSUP or what a reader
 * returned. */
int component_read(const json_t *root, const char *key, const char *list_key,
                   const struct component_row *rows, size_t num_rows, void *target,
                   struct error *err);

/* Make `ret` the object `parent`.`key`; -EINVAL when it is missing or something else. */
int component_child(const struct component *parent, const char *key, struct component *ret);

/* The same for member `i` of the list `list`, which is `parent`.`key`. */
int component_member(const struct component *parent, const char *key, const json_t *list, size_t i,
                     struct component *ret);

/* A member of the wanted JSON type; -EINVAL when it is missing or of another. */
int component_get(const struct component *component, const char *key, json_type type,
                  json_t **ret_value);

/* A boolean, or `initial` when absent or null. */
int component_bool(const struct component *component, const char *key, bool initial,
                   bool *ret_value);

/* A non-negative integer of at most `max`. */
int component_int(const struct component *component, const char *key, int64_t max,
                  int64_t *ret_value);

/* -ENOTSUP unless the option is absent, null, false, 0 or "". */
int component_unset(const struct component *component, const char *key);

/* Record that `where`.`key` is of the wrong type. Returns -EINVAL. */
int component_wrong(const struct component *component, const char *key, const json_t *found,
                    const char *wanted);

#endif
