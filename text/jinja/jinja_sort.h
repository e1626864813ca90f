/*
 * jinja_sort.h - Python's sorted(): stable, by keys, failing where two keys have no order
 */
#ifndef TEXT_JINJA_SORT_H
#define TEXT_JINJA_SORT_H

#include "text/jinja/jinja_value.h"

/* Sort list->items by keys->items (by themselves for NULL keys), in place. */
void jinja_sort(struct jinja_run *run, struct jinja_list *list, const struct jinja_list *keys,
                bool reverse);

#endif
