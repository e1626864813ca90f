/*
 * jinja_args.h - arguments of a call put into the order of the parameters
 */
#ifndef TEXT_JINJA_ARGS_H
#define TEXT_JINJA_ARGS_H

#include "text/jinja/jinja_value.h"

enum { JINJA_MAX_PARAMS = 6 };

/*
 * Fill bound[] by position and by name; `params` are names with commas between them, behind a
 * '/' if they are taken by position only, of which the first `num_required` must be given. What is
 * not given becomes MISSING. False: the run has failed, as Python's TypeError; `what` names the
 * function.
 */
bool jinja_args_bind(struct jinja_run *run, const char *what, const char *params,
                     size_t num_required, const struct jinja_args *given,
                     struct jinja_value bound[JINJA_MAX_PARAMS]);

/* A given integer, or `otherwise` when missing or None; fails the run for another type. */
int64_t jinja_args_int(struct jinja_run *run, struct jinja_value arg, int64_t otherwise);

/* The same where None is no integer. */
int64_t jinja_args_plain_int(struct jinja_run *run, struct jinja_value arg, int64_t otherwise);

/* The truth of a given argument; false when missing. */
bool jinja_args_flag(struct jinja_run *run, struct jinja_value arg, bool otherwise);

/* A given string, or NULL when missing or None; fails the run for another type. */
struct jinja_string *jinja_args_string(struct jinja_run *run, struct jinja_value arg);

#endif
