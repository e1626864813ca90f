/*
 * jinja_value.h - the values of the template language and what Python does with them
 *
 * A value is 16 bytes, passed by copy; what it points to belongs to the run's arena (or to the
 * template or the context, which outlive the run) and does not change once it is shared.
 * Exceptions are namespaces, loops, cyclers, joiners and iterators. Strings are valid UTF-8 and
 * counted in characters.
 */
#ifndef TEXT_JINJA_VALUE_H
#define TEXT_JINJA_VALUE_H

#include <jansson.h>

#include "text/jinja/jinja_run.h"

enum jinja_type {
    JINJA_UNDEFINED, /* of.string: the name that was looked up, or NULL */
    JINJA_NONE,
    JINJA_BOOL, /* of.integer, 0 or 1 */
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_VIEW, /* keys(), values() or items() of a dict */
    JINJA_RANGE,
    JINJA_ITERATOR, /* consumed by its first reader */
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_METHOD,   /* a method with the value it was taken from */
    JINJA_FUNCTION, /* of the language: range, namespace, ... */
    JINJA_LOOP,
    JINJA_CYCLER,
    JINJA_JOINER,
    JINJA_MISSING, /* no value at all: an argument not given, a name not bound */
};

struct jinja_value {
    enum jinja_type type;
    union {
        int64_t integer;
        double real;
        struct jinja_string *string;
        struct jinja_list *list;
        struct jinja_dict *dict; /* also of a namespace */
        struct jinja_view *view;
        struct jinja_range *range;
        struct jinja_iterator *iterator;
        struct jinja_macro *macro;
        struct jinja_bound *bound;
        const struct jinja_function *function;
        struct jinja_loop *loop;
        struct jinja_cycler *cycler;
        struct jinja_joiner *joiner;
    } of;
};

struct jinja_string {
    const char *data; /* not NUL-terminated */
    size_t len, num_chars;
    struct jinja_grown *grown; /* room behind data[len - 1], where there may be some */
    bool markup;               /* came through `safe`: what is added to it gets escaped */
};

struct jinja_list {
    struct jinja_value *items;
    size_t num, cap;
};

struct jinja_entry {
    struct jinja_value key, value;
    uint64_t hash;
};

struct jinja_dict {
    struct jinja_entry *entries; /* in the order of insertion */
    size_t num, cap;
    uint32_t *slots; /* [num_slots] open addressing, index + 1; NULL for small dicts */
    size_t num_slots;
};

enum jinja_view_kind { JINJA_VIEW_KEYS, JINJA_VIEW_VALUES, JINJA_VIEW_ITEMS };

struct jinja_view {
    struct jinja_dict *dict;
    enum jinja_view_kind kind;
};

struct jinja_range {
    int64_t start, stop, step;
    int64_t num;
};

struct jinja_iterator {
    bool (*next)(struct jinja_run *run, struct jinja_iterator *iterator,
                 struct jinja_value *ret_item);
    const char *name; /* as Python prints it */
    void *state;
};

/* A walk over anything that Python would iterate. */
struct jinja_cursor {
    struct jinja_value over;
    size_t at; /* items, or bytes of a string, already seen */
};

struct jinja_keyword {
    struct jinja_string *name;
    struct jinja_value value;
};

struct jinja_args {
    struct jinja_value *args;
    size_t num;
    struct jinja_keyword *keywords;
    size_t num_keywords;
};

struct jinja_cycler {
    struct jinja_list items;
    size_t at;
};

struct jinja_joiner {
    struct jinja_value separator;
    bool used;
};

/* Makers. */
struct jinja_value jinja_undefined(struct jinja_string *name);
struct jinja_value jinja_none(void);
struct jinja_value jinja_bool(bool value);
struct jinja_value jinja_int(int64_t value);
struct jinja_value jinja_float(double value);
struct jinja_value jinja_missing(void);
struct jinja_value jinja_list_value(struct jinja_list *list, enum jinja_type type);
struct jinja_value jinja_dict_value(struct jinja_dict *dict);

/* A string over bytes that outlive the run, or of a copy of them. */
struct jinja_value jinja_string_over(struct jinja_run *run, const char *data, size_t len);
struct jinja_value jinja_string_copy(struct jinja_run *run, const char *data, size_t len);

/* Take the bytes of a buffer, which is given back in any case, and whose failure fails the run. */
struct jinja_value jinja_string_take(struct jinja_run *run, struct strbuf *buf);

/* An empty buffer with the run's limit. */
struct strbuf jinja_buffer(const struct jinja_run *run);

struct jinja_list *jinja_list_create(struct jinja_run *run);
void jinja_list_push(struct jinja_run *run, struct jinja_list *list, struct jinja_value value);

struct jinja_dict *jinja_dict_create(struct jinja_run *run);

/* Insert or replace; fails the run for a key that cannot be hashed. */
void jinja_dict_set(struct jinja_run *run, struct jinja_dict *dict, struct jinja_value key,
                    struct jinja_value value);

/* The entry of `key`, or NULL. */
struct jinja_entry *jinja_dict_find(struct jinja_run *run, const struct jinja_dict *dict,
                                    struct jinja_value key);
struct jinja_entry *jinja_dict_find_text(struct jinja_run *run, const struct jinja_dict *dict,
                                         const char *text, size_t len);

/* The values of a JSON document; it must outlive the run unless its strings are copied. */
struct jinja_value jinja_from_json(struct jinja_run *run, const json_t *json, bool copy);

/* Questions. */
const char *jinja_type_name(struct jinja_value value); /* as Python calls it */
bool jinja_is_text(struct jinja_value value, const char *text);
bool jinja_is_integral(struct jinja_value value); /* int or bool */
bool jinja_is_number(struct jinja_value value);   /* int, bool or float */
bool jinja_is_iterable(struct jinja_value value);
double jinja_to_double(struct jinja_value number);
bool jinja_truth(struct jinja_run *run, struct jinja_value value);
bool jinja_equal(struct jinja_run *run, struct jinja_value a, struct jinja_value b);
bool jinja_same(struct jinja_value a, struct jinja_value b); /* Python's `is` */

/* Below, at or above 0 as Python orders a and b; fails the run where Python has no order. */
int jinja_compare(struct jinja_run *run, struct jinja_value a, struct jinja_value b);
bool jinja_contains(struct jinja_run *run, struct jinja_value container, struct jinja_value item);

/* Number of items; -1, without failing, for what has none. */
int64_t jinja_length(struct jinja_value value);

/* Begin a walk (fails the run for what cannot be iterated); the next item, or false. */
struct jinja_cursor jinja_cursor(struct jinja_run *run, struct jinja_value over);
bool jinja_cursor_next(struct jinja_run *run, struct jinja_cursor *cursor,
                       struct jinja_value *ret_item);

/* All items of a walk in a new list. */
struct jinja_list *jinja_to_list(struct jinja_run *run, struct jinja_value value);

/* An iterator over the items of a list. */
struct jinja_value jinja_iterate_list(struct jinja_run *run, struct jinja_list *list,
                                      const char *name);

/* value[key]: an item, or MISSING where Python raises LookupError or TypeError. */
struct jinja_value jinja_item(struct jinja_run *run, struct jinja_value value,
                              struct jinja_value key);

/* value[start:stop:step]; any of the three may be None. */
struct jinja_value jinja_slice(struct jinja_run *run, struct jinja_value value,
                               const struct jinja_value bounds[3]);

/* Characters [from, to) of a string. */
struct jinja_value jinja_substring(struct jinja_run *run, const struct jinja_string *string,
                                   size_t from, size_t to);

/* Byte offset of a character, which may be the end. */
size_t jinja_string_offset(const struct jinja_string *string, size_t index);

/* left + right of two strings; appends in place where it can, so that building is linear. */
struct jinja_value jinja_string_concat(struct jinja_run *run, struct jinja_string *left,
                                       struct jinja_string *right);

/* HTML-escaped, with the mark of `safe`. */
struct jinja_value jinja_escape(struct jinja_run *run, struct jinja_string *string);

/* The same bytes with or without that mark. */
struct jinja_value jinja_mark(struct jinja_run *run, struct jinja_value string, bool markup);

#endif
