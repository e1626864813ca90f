/*
 * regex_syntax.h - a split pattern in Oniguruma's language, written for PCRE2
 *
 * The patterns of tokenizer.json are run by Oniguruma where they come from. Nearly all mean the
 * same to PCRE2. \s is spelled out (PCRE2 has U+180E in it), and what PCRE2 would silently read
 * in another way is refused: nested classes, &&, \h, {,n} and a + behind an interval.
 */
#ifndef TEXT_REGEX_SYNTAX_H
#define TEXT_REGEX_SYNTAX_H

#include <stddef.h>

#include "base/error.h"
#include "base/strbuf.h"

/* Append the pattern for PCRE2 to `out`. Returns 0, -ENOTSUP (with the construct and its
 * place), -ENOMEM. */
int regex_syntax_translate(const char *pattern, size_t len, struct strbuf *out, struct error *err);

#endif
