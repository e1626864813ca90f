/*
 * jinja_eval.h - expressions to values, statements to text
 *
 * Expressions and calls are in jinja_eval.c, statements in jinja_exec.c, macros in
 * jinja_macro.c.
 */
#ifndef TEXT_JINJA_EVAL_H
#define TEXT_JINJA_EVAL_H

#include "text/jinja/jinja_args.h"
#include "text/jinja/jinja_ast.h"
#include "text/jinja/jinja_scope.h"

struct jinja_value jinja_eval(struct jinja_run *run, const struct jinja_node *node);

/* A chain of filters whose innermost input is `input`. */
struct jinja_value jinja_eval_chain(struct jinja_run *run, const struct jinja_node *node,
                                    struct jinja_value input);

/* Evaluate arguments; `extra` (or NULL) joins the keywords. */
struct jinja_args jinja_eval_args(struct jinja_run *run, const struct jinja_call *call,
                                  const struct jinja_keyword *extra);

struct jinja_value jinja_eval_call(struct jinja_run *run, struct jinja_value callee,
                                   const struct jinja_args *args);

enum jinja_flow { JINJA_FLOW_ON, JINJA_FLOW_BREAK, JINJA_FLOW_CONTINUE };

/* Run statements one after the other; a failed run goes on with nothing. */
enum jinja_flow jinja_exec(struct jinja_run *run, const struct jinja_node *list);

/* Give the target's names their values in the run's scope. */
void jinja_exec_assign(struct jinja_run *run, const struct jinja_node *target,
                       struct jinja_value value);

/* loop(items) inside a recursive loop: the text of the loop over other items. */
struct jinja_value jinja_exec_recurse(struct jinja_run *run, const struct jinja_node *node,
                                      struct jinja_scope *outer, struct jinja_value over,
                                      int64_t depth0);

struct jinja_macro;

struct jinja_value jinja_macro_create(struct jinja_run *run, const struct jinja_node *node,
                                      struct jinja_string *name);
struct jinja_value jinja_macro_call(struct jinja_run *run, const struct jinja_macro *macro,
                                    const struct jinja_args *args);

#endif
