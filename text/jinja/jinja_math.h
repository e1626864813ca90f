/*
 * jinja_math.h - operators on values
 */
#ifndef TEXT_JINJA_MATH_H
#define TEXT_JINJA_MATH_H

#include "text/jinja/jinja_ast.h"

/* + - ~ * / // % ** ; integers beyond 64 bits fail the run. */
struct jinja_value jinja_math_binary(struct jinja_run *run, enum jinja_op op, struct jinja_value a,
                                     struct jinja_value b);

/* not, - and + before a value. */
struct jinja_value jinja_math_unary(struct jinja_run *run, enum jinja_op op, struct jinja_value a);

/* == != < <= > >= in, not in */
bool jinja_math_compare(struct jinja_run *run, enum jinja_op op, struct jinja_value a,
                        struct jinja_value b);

#endif
