/*
 * added_tokens.h - finds a model's added tokens in text, before everything else
 *
 * Matches are leftmost and of those the longest, over bytes, and do not overlap. Tokens with
 * "normalized": false are found in the text as given, the others in what the normalizer made
 * of the pieces between: two matchers. A match may swallow white space beside it (lstrip,
 * rstrip) and may be refused inside a word (single_word). Immutable once made; any thread.
 * Source: HF tokenizers, AddedVocabulary.
 */
#ifndef TEXT_ADDED_TOKENS_H
#define TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADDED_TOKENS_BYTES_MAX = 1024 }; /* of one token: bounds the work at each character */

struct added_token {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};

struct added_tokens_node {
    int32_t child, sibling; /* 0: none (the root is nobody's child) */
    int32_t token;          /* index of the token that ends here, or -1 */
    uint8_t byte;
};

/* A trie of bytes. */
struct added_tokens {
    struct added_token *tokens;
    struct added_tokens_node *nodes;
    int32_t num_tokens, cap_tokens, num_nodes, cap_nodes;
    int32_t roots[256]; /* node of each first byte, 0: none */
    int only_byte;      /* the one first byte there is; -1: several, -2: none */
    bool strips;        /* some token swallows white space */
};

/* A zeroed struct becomes an empty matcher. 0 or -ENOMEM. */
int added_tokens_init(struct added_tokens *added);
void added_tokens_finish(struct added_tokens *added);

/* Add a token, len in 1..ADDED_TOKENS_BYTES_MAX; one with the same text is replaced. Returns 0
 * or -ENOMEM. */
int added_tokens_add(struct added_tokens *added, const char *text, size_t len,
                     struct added_token token);

/* Walk over a text: text, token, text ... */
struct added_tokens_cursor {
    const struct added_tokens *added;
    const char *text;
    size_t len;
    bool parse_special; /* false: special tokens are passed over */
    const char *mark;   /* a character that stands for nothing, or NULL: see begin() */
    size_t mark_len;
    size_t at;                   /* the next match is looked for from here */
    size_t done;                 /* handed out up to here */
    size_t space_from, space_to; /* run of white space measured last */
    struct {
        size_t end;
        int32_t id;
    } next; /* the token behind the text handed out; id -1: none */
};

struct added_tokens_segment {
    size_t start, len;
    int32_t id; /* of an added token; -1: text between */
};

/*
 * Where cursor->mark is set behind this, marks in the text are no part of any token's text, and a
 * special token is passed over that has one inside, or behind its only character.
 */
void added_tokens_begin(struct added_tokens_cursor *cursor, const struct added_tokens *added,
                        const char *text, size_t len, bool parse_special);

/* The next segment, or false at the end. Text segments are not empty. */
bool added_tokens_next(struct added_tokens_cursor *cursor, struct added_tokens_segment *ret);

#endif
