/*
 * jinja_lexer.h - template source to tokens, with the whitespace rules applied
 *
 * What trim_blocks, lstrip_blocks and the signs in tags take away is gone from the DATA tokens
 * already; comments are gone altogether.
 */
#ifndef TEXT_JINJA_LEXER_H
#define TEXT_JINJA_LEXER_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

enum jinja_token_type {
    JINJA_TOKEN_END, /* of the source */
    JINJA_TOKEN_DATA,
    JINJA_TOKEN_BLOCK_BEGIN,
    JINJA_TOKEN_BLOCK_END,
    JINJA_TOKEN_PRINT_BEGIN,
    JINJA_TOKEN_PRINT_END,
    JINJA_TOKEN_NAME,
    JINJA_TOKEN_TEXT, /* a string literal, escapes resolved */
    JINJA_TOKEN_INT,
    JINJA_TOKEN_FLOAT,
    JINJA_TOKEN_OPERATOR, /* spelled as in `text` */
};

struct jinja_token {
    enum jinja_token_type type;
    uint32_t line; /* from 1 */
    const char *text;
    size_t len;
    union {
        int64_t integer;
        double real;
    } number;
};

struct jinja_tokens {
    struct jinja_token *tokens;
    size_t num, cap; /* tokens[num - 1] is an END */
};

/*
 * Cut `len` bytes of valid UTF-8 into tokens, which live in `arena` (text included; `source`
 * may go).
 *
 * Returns 0; -EINVAL (what and the line in `err`); -ENOTSUP (\N{...} and surrogates in a
 * literal); -ENOMEM.
 */
int jinja_lexer_run(struct arena *arena, const char *source, size_t len,
                    struct jinja_tokens *ret_tokens, struct error *err);

#endif
