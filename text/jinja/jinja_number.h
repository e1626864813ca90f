/*
 * jinja_number.h - Python's int(), float() and round() as filters use them
 */
#ifndef TEXT_JINJA_NUMBER_H
#define TEXT_JINJA_NUMBER_H

#include "text/jinja/jinja_value.h"

/* `otherwise` for what is no number; an undefined fails the run. */
struct jinja_value jinja_number_int(struct jinja_run *run, struct jinja_value value,
                                    struct jinja_value otherwise, int64_t base);
struct jinja_value jinja_number_float(struct jinja_run *run, struct jinja_value value,
                                      struct jinja_value otherwise);

/* method: MISSING or 'common', 'ceil', 'floor' */
struct jinja_value jinja_number_round(struct jinja_run *run, struct jinja_value value,
                                      int64_t precision, struct jinja_value method);

#endif
