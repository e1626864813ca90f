/*
 * jinja_lookup.h - a.b and a[b]: attribute before item, item before attribute
 *
 * Both answer an undefined where there is neither, and fail the run on an undefined.
 */
#ifndef TEXT_JINJA_LOOKUP_H
#define TEXT_JINJA_LOOKUP_H

#include "text/jinja/jinja_value.h"

struct jinja_value jinja_lookup_attribute(struct jinja_run *run, struct jinja_value value,
                                          struct jinja_string *name);
struct jinja_value jinja_lookup_subscript(struct jinja_run *run, struct jinja_value value,
                                          struct jinja_value key);

/* Dotted path as filters take it: 'a.0.b', or an integer; MISSING and None are no path. */
struct jinja_value jinja_lookup_path(struct jinja_run *run, struct jinja_value value,
                                     struct jinja_value path, struct jinja_value otherwise);

/* End the rendering because of a value that is undefined, with the name it was looked up by. */
void jinja_lookup_fail_undefined(struct jinja_run *run, struct jinja_value undefined);

#endif
