/*
 * utf8.h - UTF-8 as Unicode 15 table 3-7 defines it: no overlong forms, no surrogates
 *
 * Any thread; nothing allocates.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_INVALID = 0, UTF8_INCOMPLETE = -1 };

/*
 * Look at the character that `text` begins with (len >= 1).
 *
 * Returns its length 1..4 and sets *ret_codepoint; UTF8_INCOMPLETE when the bytes are the
 * beginning of a character that more bytes could complete; UTF8_INVALID when no byte that
 * follows could make them one.
 */
int utf8_decode(const char *text, size_t len, uint32_t *ret_codepoint);

/* Write the character's 1..4 bytes and return their number; 0 for a surrogate or > U+10FFFF. */
int utf8_encode(uint32_t codepoint, char out[4]);

/* Length of the longest valid prefix; equals len when all is valid. */
size_t utf8_valid_prefix(const char *text, size_t len);

/* Bytes of the maximal subpart of the ill-formed sequence at `text`: what one U+FFFD replaces. */
size_t utf8_invalid_len(const char *text, size_t len);

/* Number of characters of valid text. */
size_t utf8_count(const char *text, size_t len);

#endif
