/*
 * jinja_case.h - characters that become several in upper or title case
 */
#ifndef TEXT_JINJA_CASE_H
#define TEXT_JINJA_CASE_H

#include <stdbool.h>
#include <stdint.h>

/* The upper (or title) case of a character where that is more than one, else NULL. */
const char *jinja_case_special(uint32_t codepoint, bool title);

#endif
