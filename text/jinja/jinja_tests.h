/*
 * jinja_tests.h - the tests (`is defined` and so on), as a table by name
 */
#ifndef TEXT_JINJA_TESTS_H
#define TEXT_JINJA_TESTS_H

#include "text/jinja/jinja_args.h"

struct jinja_test;

/* The test called `name`, or NULL. */
const struct jinja_test *jinja_test_find(const char *name, size_t len);

bool jinja_test_apply(struct jinja_run *run, const struct jinja_test *test,
                      struct jinja_value value, const struct jinja_args *args);

#endif
