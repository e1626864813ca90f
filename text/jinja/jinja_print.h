/*
 * jinja_print.h - values as text: Python's str() and repr(), and json.dumps()
 */
#ifndef TEXT_JINJA_PRINT_H
#define TEXT_JINJA_PRINT_H

#include "text/jinja/jinja_value.h"

/* Append str(value): a string as it is, nothing for undefined, else repr(). */
void jinja_print_str(struct jinja_run *run, struct strbuf *out, struct jinja_value value);
void jinja_print_repr(struct jinja_run *run, struct strbuf *out, struct jinja_value value);

/* str(value) as a value; a string is itself. */
struct jinja_value jinja_print_value(struct jinja_run *run, struct jinja_value value);

/* Shortest decimal that reads back as `real`, as Python writes it: 1.0, 1e+16, inf. */
void jinja_print_float(struct strbuf *out, double real);

struct jinja_json_style {
    const struct jinja_string *indent; /* of one level; NULL: all on one line */
    const char *item_separator, *key_separator;
    size_t item_separator_len, key_separator_len;
    bool ensure_ascii, sort_keys;
};

void jinja_print_json(struct jinja_run *run, struct strbuf *out, struct jinja_value value,
                      const struct jinja_json_style *style);

#endif
