/*
 * stop_matcher.h - all stop strings of a request as one automaton
 *
 * The trie of the strings with failure links: after any text the state is the longest suffix of
 * it that is a prefix of some stop string. So the state's depth is exactly what has to be held
 * back, and every occurrence is seen at its last byte, wherever the text was cut.
 *
 * The automaton is immutable: all choices of a request share it, each with a state of its own.
 * Children are sibling lists (at most as long as there are strings), so that 64 strings of
 * 1 KiB take 2 MiB and not the 64 MiB of a dense table.
 *
 * Source: Aho and Corasick, "Efficient string matching", 1975.
 */
#ifndef FRONTEND_SESSION_STOP_MATCHER_H
#define FRONTEND_SESSION_STOP_MATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STOP_MATCHER_MAX_STRINGS = 64, STOP_MATCHER_MAX_BYTES = 1024 };

struct stop_matcher;

/* State of one text; zeroed at its beginning. */
typedef uint32_t stop_matcher_state;

struct stop_match {
    uint32_t stop;   /* index of the string */
    size_t end;      /* bytes of the fed text up to and with its last byte */
    size_t stop_len; /* it may begin before the fed text */
};

/*
 * Copies the strings.
 *
 * Returns 0; -EINVAL for no strings, more than 64, or one that is empty or over 1,024 bytes;
 * -ENOMEM.
 */
int stop_matcher_create(const char *const *stops, const size_t *lens, uint32_t num_stops,
                        struct stop_matcher **ret_matcher);
void stop_matcher_destroy(struct stop_matcher *matcher);

/*
 * Go on with `text`. Of the strings that end in it, reports the one that begins earliest (of
 * those that begin together, the one that ends first).
 *
 * Returns whether there is one.
 */
bool stop_matcher_feed(const struct stop_matcher *matcher, stop_matcher_state *state,
                       const char *text, size_t len, struct stop_match *ret_match);

/* Bytes at the end of the text so far that may be the beginning of a stop string. */
size_t stop_matcher_held(const struct stop_matcher *matcher, stop_matcher_state state);

const char *stop_matcher_text(const struct stop_matcher *matcher, uint32_t stop, size_t *ret_len);

#endif
