/*
 * jinja_format.h - Python's three ways to format: "%d" % x, "{:>4}".format(x), ljust and its kin
 */
#ifndef TEXT_JINJA_FORMAT_H
#define TEXT_JINJA_FORMAT_H

#include "text/jinja/jinja_args.h"

/* Filled up to `width` characters: aligned '<' left, '>' right, 'c' as center() does, '^' as
 * format() does, '0' as zfill() does. `fill` is one character, NULL a space. */
struct jinja_value jinja_format_pad(struct jinja_run *run, const struct jinja_string *string,
                                    int64_t width, const struct jinja_string *fill, char align);

/* format % args, where args is a tuple, a dict for %(name)s, or one value. */
struct jinja_value jinja_format_percent(struct jinja_run *run, const struct jinja_string *format,
                                        struct jinja_value args);

/* format.format(*args) with fields {}, {0}, {name}, {name.attribute}, {0[key]}, !r !s, and the
 * usual specification behind a colon. */
struct jinja_value jinja_format_braces(struct jinja_run *run, const struct jinja_string *format,
                                       const struct jinja_args *args);

#endif
