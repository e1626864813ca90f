/*
 * jinja_strip.h - cutting strings as Python does: strip, split, replace, find
 */
#ifndef TEXT_JINJA_STRIP_H
#define TEXT_JINJA_STRIP_H

#include "text/jinja/jinja_value.h"

enum jinja_side { JINJA_LEFT = 1, JINJA_RIGHT = 2, JINJA_BOTH = 3 };

/* Without the characters of `chars` (white space for NULL) at the sides. */
struct jinja_value jinja_strip(struct jinja_run *run, const struct jinja_string *string,
                               const struct jinja_string *chars, enum jinja_side sides);

/* List of parts around `separator` (runs of white space for NULL), cut at most `most` times
 * (-1: no limit) from the side `from`. Fails the run for an empty separator. */
struct jinja_value jinja_split(struct jinja_run *run, const struct jinja_string *string,
                               const struct jinja_string *separator, int64_t most,
                               enum jinja_side from);

/* List of lines; with their ends if `keep_ends`. */
struct jinja_value jinja_split_lines(struct jinja_run *run, const struct jinja_string *string,
                                     bool keep_ends);

/* With the first `most` (-1: all) `old` replaced. */
struct jinja_value jinja_replace(struct jinja_run *run, const struct jinja_string *string,
                                 const struct jinja_string *old,
                                 const struct jinja_string *replacement, int64_t most);

/* Byte offset of the first (last, from the right) `part` in `string`, or -1. */
int64_t jinja_find(struct jinja_run *run, const struct jinja_string *string,
                   const struct jinja_string *part, enum jinja_side from);

/* Bytes [from, to) of a string, with its mark. */
struct jinja_value jinja_bytes(struct jinja_run *run, const struct jinja_string *string,
                               size_t from, size_t to);

#endif
