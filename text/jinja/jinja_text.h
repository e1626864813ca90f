/*
 * jinja_text.h - what Python's str knows about characters: white space, case, classes
 *
 * All text is valid UTF-8. Any thread; nothing is kept.
 */
#ifndef TEXT_JINJA_TEXT_H
#define TEXT_JINJA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* str.isspace() of one character. */
bool jinja_text_is_space(uint32_t codepoint);

/* Does str.splitlines() end a line at this character? */
bool jinja_text_is_line_end(uint32_t codepoint);

/* Bytes of white space that `text` begins with. */
size_t jinja_text_leading_space(const char *text, size_t len);

/* Length of `text` without the white space it ends with. */
size_t jinja_text_trimmed(const char *text, size_t len);

/* Bytes of the identifier that `text` begins with, 0 for none. */
size_t jinja_text_name_len(const char *text, size_t len);

enum jinja_case { JINJA_LOWER, JINJA_UPPER, JINJA_CAPITALIZE, JINJA_TITLE, JINJA_SWAPCASE };

/* Append `text` in another case, as the str method of that name. */
void jinja_text_convert(struct strbuf *out, const char *text, size_t len, enum jinja_case to);

enum jinja_class {
    JINJA_ALPHA,
    JINJA_ALNUM,
    JINJA_DIGIT,
    JINJA_SPACE,
    JINJA_IS_LOWER,
    JINJA_IS_UPPER,
    JINJA_IS_TITLE,
    JINJA_ASCII,
    JINJA_PRINTABLE,
};

/* str.isalpha() and its kin. */
bool jinja_text_is(const char *text, size_t len, enum jinja_class wanted);

/* str.isprintable() of one character: repr() shows it as itself. */
bool jinja_text_is_printable(uint32_t codepoint);

#endif
