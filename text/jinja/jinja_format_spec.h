/*
 * jinja_format_spec.h - what both languages of jinja_format.h have in common; for jinja_format*.c
 * only
 */
#ifndef TEXT_JINJA_FORMAT_SPEC_H
#define TEXT_JINJA_FORMAT_SPEC_H

#include "text/jinja/jinja_args.h"

enum { JINJA_FORMAT_WIDTH_MAX = 1000000, JINJA_FORMAT_PRECISION_MAX = 1000 };

/* One conversion of either language. */
struct jinja_format_spec {
    bool given, left, plus, space, alternate, zero, comma;
    int64_t width, precision; /* precision -1: none */
    char type, align;
    struct jinja_value fill;
};

/* repr() of the value. */
struct jinja_value jinja_format_repr(struct jinja_run *run, struct jinja_value value);

/* Sign and digits of a number as the specification has them, not filled up. */
struct jinja_value jinja_format_integer(struct jinja_run *run, const struct jinja_format_spec *spec,
                                        int64_t value);
struct jinja_value jinja_format_real(struct jinja_run *run, const struct jinja_format_spec *spec,
                                     double value);

/* The text up to the precision. */
struct jinja_value jinja_format_cut(struct jinja_run *run, const struct jinja_format_spec *spec,
                                    struct jinja_value text);

/* Fail the run: the specification does not fit the value. */
struct jinja_value jinja_format_refuse(struct jinja_run *run, const struct jinja_format_spec *spec,
                                       struct jinja_value value);

#endif
