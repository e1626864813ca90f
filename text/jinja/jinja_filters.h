/*
 * jinja_filters.h - the filters, as a table by name
 */
#ifndef TEXT_JINJA_FILTERS_H
#define TEXT_JINJA_FILTERS_H

#include "text/jinja/jinja_args.h"

typedef struct jinja_value jinja_filter_fn(struct jinja_run *run, struct jinja_value in,
                                           const struct jinja_value args[JINJA_MAX_PARAMS]);
typedef struct jinja_value jinja_filter_raw_fn(struct jinja_run *run, struct jinja_value in,
                                               const struct jinja_args *args);

struct jinja_filter {
    const char *name;
    const char *params; /* as for jinja_args_bind(); NULL: none */
    size_t num_required;
    jinja_filter_fn *call;
    jinja_filter_raw_fn *call_raw; /* takes any arguments */
    const char *deferred; /* as Python prints it: an iterator that calls when it is first read */
};

/* The filter called `name`, or NULL. */
const struct jinja_filter *jinja_filter_find(const char *name, size_t len);

/* Is `name` a filter of jinja2 that is not supported here? */
bool jinja_filter_is_left_out(const char *name, size_t len);

struct jinja_value jinja_filter_apply(struct jinja_run *run, const struct jinja_filter *filter,
                                      struct jinja_value in, const struct jinja_args *args);

/* An iterator over the list that `filter` will give, also in jinja_lazy.c. */
struct jinja_value jinja_lazy_defer(struct jinja_run *run, const struct jinja_filter *filter,
                                    struct jinja_value in,
                                    const struct jinja_value args[JINJA_MAX_PARAMS]);

/* The filters that yield item by item; in jinja_lazy.c. */
jinja_filter_raw_fn jinja_lazy_map, jinja_lazy_select, jinja_lazy_reject, jinja_lazy_selectattr,
    jinja_lazy_rejectattr;

/* Filters over sequences, in jinja_filters_list.c. */
jinja_filter_fn jinja_filter_batch, jinja_filter_dictsort, jinja_filter_first, jinja_filter_groupby,
    jinja_filter_items, jinja_filter_join, jinja_filter_last, jinja_filter_list, jinja_filter_max,
    jinja_filter_min, jinja_filter_reverse, jinja_filter_slice, jinja_filter_sort, jinja_filter_sum,
    jinja_filter_unique;

/* Filters over text, in jinja_filters_text.c. */
jinja_filter_raw_fn jinja_filter_format;
jinja_filter_fn jinja_filter_upper, jinja_filter_lower, jinja_filter_capitalize, jinja_filter_title,
    jinja_filter_trim, jinja_filter_string, jinja_filter_safe, jinja_filter_escape,
    jinja_filter_forceescape, jinja_filter_replace, jinja_filter_indent, jinja_filter_center,
    jinja_filter_wordcount, jinja_filter_urlencode, jinja_filter_truncate;

#endif
