/*
 * regex.h - PCRE2 with limits, as the split patterns of tokenizers need it
 *
 * Patterns are in Oniguruma's language (regex_syntax.h), classes are Unicode's. A compiled
 * expression is immutable; each thread brings a struct regex_work.
 */
#ifndef TEXT_REGEX_H
#define TEXT_REGEX_H

#include <stddef.h>

#include "base/error.h"

struct regex;
struct regex_work;

/* Returns 0, -EINVAL (with PCRE2's reason and place), -ENOTSUP, -ENOMEM. */
int regex_create(const char *pattern, size_t len, struct regex **ret_regex, struct error *err);
void regex_destroy(struct regex *regex);

int regex_work_create(struct regex_work **ret_work);
void regex_work_destroy(struct regex_work *work);

/* First match in text[from..len), `text` valid UTF-8. Returns 1, 0 (none), -ERANGE (a limit
 * was passed), -ENOMEM. */
int regex_find(const struct regex *regex, struct regex_work *work, const char *text, size_t len,
               size_t from, size_t *ret_start, size_t *ret_end);

#endif
