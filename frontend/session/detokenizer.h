/*
 * detokenizer.h - bytes of tokens to whole characters
 *
 * A token stands for bytes, and a character's bytes may lie in several tokens. What can still
 * become a character is held back (at most 3 bytes); what is proven not to be one becomes one
 * U+FFFD for each maximal ill-formed subpart. So the text does not depend on where the bytes
 * were cut, and a byte that went out never changes.
 *
 * Source: Unicode 15, section 3.9, "U+FFFD substitution of maximal subparts".
 */
#ifndef FRONTEND_SESSION_DETOKENIZER_H
#define FRONTEND_SESSION_DETOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Zeroed to begin with. */
struct detokenizer {
    char held[4];
    uint8_t num_held; /* 0..3: a valid beginning of a character */
};

/* Append the characters that `bytes` complete to `out`. A lack of memory marks `out` failed. */
void detokenizer_push(struct detokenizer *detokenizer, const char *bytes, size_t len,
                      struct strbuf *out);

/* No more bytes will come: what is held becomes U+FFFD. */
void detokenizer_flush(struct detokenizer *detokenizer, struct strbuf *out);

#endif
