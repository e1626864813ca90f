/*
 * jinja_loop.h - the `loop` variable: an iteration with a look ahead
 */
#ifndef TEXT_JINJA_LOOP_H
#define TEXT_JINJA_LOOP_H

#include "text/jinja/jinja_args.h"

struct jinja_node;

struct jinja_loop {
    struct jinja_cursor cursor;
    int64_t index0, length; /* -1: before the first item; not known yet */
    int64_t depth0;
    struct jinja_value before, current, after; /* `after` was read ahead, or is MISSING */
    struct jinja_value changed;                /* arguments of the last changed(), or MISSING */
    const struct jinja_node *node;
    struct jinja_scope *outer; /* where the loop stands */
};

struct jinja_loop *jinja_loop_create(struct jinja_run *run, struct jinja_value over);

/* Advance to the next item, or false. */
bool jinja_loop_next(struct jinja_run *run, struct jinja_loop *loop, struct jinja_value *ret_item);

/* index, first, last, nextitem, cycle and so on, or MISSING. */
struct jinja_value jinja_loop_attribute(struct jinja_run *run, struct jinja_loop *loop,
                                        const struct jinja_string *name);

struct jinja_value jinja_loop_cycle(struct jinja_run *run, const struct jinja_loop *loop,
                                    const struct jinja_args *args);
bool jinja_loop_changed(struct jinja_run *run, struct jinja_loop *loop,
                        const struct jinja_args *args);
void jinja_loop_print(struct jinja_run *run, struct strbuf *out, struct jinja_loop *loop);

#endif
