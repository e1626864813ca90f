/*
 * byte_level.h - the byte-level alphabet: 256 printable characters that stand for the bytes
 *
 * Bytes 21-7E, A1-AC and AE-FF are the character of the same number, the other 68 in
 * increasing order U+0100 and on (space is U+0120). Vocabularies are written in it; here it is
 * undone while loading, and everything else works on bytes. Any thread.
 * Source: GPT-2's bytes_to_unicode().
 */
#ifndef TEXT_BYTE_LEVEL_H
#define TEXT_BYTE_LEVEL_H

#include <stddef.h>
#include <stdint.h>

/* Write the bytes that `text` (valid UTF-8) stands for to `out`, which has room for `len`.
 * Returns their number, or -1 when a character is outside the alphabet. */
int64_t byte_level_decode(const char *text, size_t len, char *out);

/* The character that stands for `byte`. */
uint32_t byte_level_codepoint(uint8_t byte);

#endif
