/*
 * jinja_functions.h - the functions that every template has: range, namespace, ...
 */
#ifndef TEXT_JINJA_FUNCTIONS_H
#define TEXT_JINJA_FUNCTIONS_H

#include "text/jinja/jinja_args.h"

struct jinja_function {
    const char *name;
    struct jinja_value (*call)(struct jinja_run *run, const struct jinja_args *args);
};

/* The function called `name`, or NULL. */
const struct jinja_function *jinja_function_find(const char *name, size_t len);

/* May a namespace have an attribute of this name? Fails the run if not. */
bool jinja_function_check_attribute(struct jinja_run *run, struct jinja_value name);

/* Attribute of a macro or cycler, or MISSING. */
struct jinja_value jinja_function_attribute(struct jinja_run *run, struct jinja_value value,
                                            const struct jinja_string *name);

/* A macro with the scope it was made in. */
struct jinja_macro {
    const struct jinja_node *node; /* MACRO_NODE or CALL_BLOCK */
    struct jinja_scope *scope;
    struct jinja_string *name; /* NULL: the `caller` of a call block */
};

const struct jinja_string *jinja_macro_name(const struct jinja_macro *macro);

#endif
