/*
 * splitter.h - finds the next match of a split pattern in a piece of text
 *
 * The patterns of the large families are written by hand and chosen by the exact text of the
 * expression; others run in PCRE2 (UTF, UCP, JIT). A piece is a string of its own: look-aheads
 * take its end for the end of the text.
 *
 * A splitter is immutable; each thread brings a struct splitter_work.
 */
#ifndef TEXT_SPLITTER_H
#define TEXT_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "text/component.h"

enum splitter_type {
    SPLITTER_GPT2,        /* by hand: every character is part of some match */
    SPLITTER_LLAMA3,      /* likewise */
    SPLITTER_QWEN2,       /* likewise */
    SPLITTER_DIGITS,      /* one \p{N} */
    SPLITTER_SPACE,       /* one character of white space */
    SPLITTER_PUNCTUATION, /* one \p{P}, or of ASCII one that is neither letter, digit nor space */
    SPLITTER_WORDS,       /* \w+|[^\w\s]+ */
    SPLITTER_LITERAL,
    SPLITTER_REGEX,
};

extern const char splitter_gpt2_pattern[];
extern const char splitter_llama3_pattern[];
extern const char splitter_qwen2_pattern[];

struct regex;
struct regex_work;

struct splitter {
    enum splitter_type type;
    char *literal; /* SPLITTER_LITERAL */
    size_t literal_len;
    struct regex *regex; /* SPLITTER_REGEX */
};

struct splitter_match {
    size_t start, end; /* bytes in the piece; start == end is legal for SPLITTER_REGEX */
};

/* Makers. The pattern is compiled in any case where `by_hand` is false. Return 0, -EINVAL (PCRE2
 * refuses it), -ENOTSUP, -ENOMEM. */
int splitter_init_pattern(struct splitter *splitter, const char *pattern, size_t len, bool by_hand,
                          struct error *err);
int splitter_init_literal(struct splitter *splitter, const char *text, size_t len);
void splitter_init_type(struct splitter *splitter, enum splitter_type type);

/* Read `c`.pattern: {"Regex": text} or {"String": text}. Returns as the makers. */
int splitter_read(const struct component *c, bool by_hand, struct splitter *splitter);

void splitter_finish(struct splitter *splitter);

/* Is every character of any text part of a match that begins where the last one ended? */
bool splitter_covers(const struct splitter *splitter);

/*
 * First match in text[from..len), from < len.
 *
 * Returns 1; 0 when there is none; -ERANGE when PCRE2 gave up at its limits; -ENOMEM.
 */
int splitter_find(const struct splitter *splitter, struct regex_work *work, const char *text,
                  size_t len, size_t from, struct splitter_match *ret_match);

/* End of the match that begins at `at` < `end`; of a splitter that covers. */
const char *splitter_next(const struct splitter *splitter, const char *at, const char *end);

#endif
