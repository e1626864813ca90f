/*
 * jinja_unset.h - names that hide the context before they are set
 *
 * jinja2 decides at compile time where a name lives. A name that a scope sets before it reads
 * it, on every path, is a local variable of that scope from its beginning: a macro or loop in
 * that scope that reads the name earlier finds it undefined, whatever the context says. Names
 * that an outer scope mentions are not affected.
 */
#ifndef TEXT_JINJA_UNSET_H
#define TEXT_JINJA_UNSET_H

#include "text/jinja/jinja_ast.h"

/* Fill in `unset` of the template and of all nodes that open scopes. 0 or -ENOMEM. */
int jinja_unset_find(struct jinja_template *template, struct error *err);

#endif
