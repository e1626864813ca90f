/*
 * jinja_methods.h - methods of Python's str, dict, list and tuple, as a table
 *
 * What would change a list or dict is not there: the sandbox of HF makes those undefined.
 */
#ifndef TEXT_JINJA_METHODS_H
#define TEXT_JINJA_METHODS_H

#include "text/jinja/jinja_args.h"

struct jinja_method;

/* A method and the value it was taken from. */
struct jinja_bound {
    struct jinja_value self;
    const struct jinja_method *method;
};

/* The method `name` of a value, bound; an undefined for one that changes it; else MISSING. */
struct jinja_value jinja_method_of(struct jinja_run *run, struct jinja_value self,
                                   const struct jinja_string *name);

struct jinja_value jinja_method_call(struct jinja_run *run, const struct jinja_bound *bound,
                                     const struct jinja_args *args);

/* Methods of str that search, in jinja_methods_find.c. */
typedef struct jinja_value jinja_method_fn(struct jinja_run *run, struct jinja_value self,
                                           const struct jinja_value args[JINJA_MAX_PARAMS]);

jinja_method_fn jinja_method_count, jinja_method_endswith, jinja_method_find, jinja_method_index,
    jinja_method_partition, jinja_method_removeprefix, jinja_method_removesuffix,
    jinja_method_rfind, jinja_method_rindex, jinja_method_rpartition, jinja_method_startswith;

/* The string that an argument must be; fails the run (and is empty) if it is none. */
const struct jinja_string *jinja_method_need_string(struct jinja_run *run, struct jinja_value arg);

#endif
