/*
 * jinja_scope.h - which value a name has: innermost scope first, then the context
 */
#ifndef TEXT_JINJA_SCOPE_H
#define TEXT_JINJA_SCOPE_H

#include "text/jinja/jinja_value.h"

struct jinja_binding {
    uint32_t name;
    struct jinja_value value; /* MISSING: not bound yet, and hides what lies outside */
};

struct jinja_scope {
    struct jinja_scope *outer;
    struct jinja_binding *bindings;
    size_t num, cap;
};

/* A new innermost scope whose `unset` names are hidden until they are set, or NULL. */
struct jinja_scope *jinja_scope_push(struct jinja_run *run, struct jinja_scope *outer,
                                     const uint32_t *unset, size_t num_unset);

/* Empty it again, for the next iteration of a loop. */
void jinja_scope_reset(struct jinja_run *run, struct jinja_scope *scope, const uint32_t *unset,
                       size_t num_unset);

void jinja_scope_set(struct jinja_run *run, struct jinja_scope *scope, uint32_t name,
                     struct jinja_value value);

/* The value of `name` seen from the run's scope, or an undefined. */
struct jinja_value jinja_scope_get(struct jinja_run *run, uint32_t name);

#endif
