#include "text/jinja/jinja_lexer.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_literal.h"
#include "text/jinja/jinja_text.h"

enum { MAX_OPEN_BRACKETS = 1024 };

struct lexer {
    struct arena *arena;
    const char *text; /* line ends are \n, one at the end is dropped */
    size_t len, at;
    uint32_t line;
    bool line_starting; /* the tag before consumed a line end last */
    struct jinja_tokens tokens;
    struct error *err;
};

enum tag { TAG_NONE, TAG_BLOCK, TAG_PRINT, TAG_COMMENT, TAG_RAW };

static int push(struct lexer *lex, struct jinja_token token)
{
    struct jinja_tokens *tokens = &lex->tokens;
    if (tokens->num == tokens->cap) {
        const size_t cap = tokens->cap == 0 ? 256 : tokens->cap * 2;
        struct jinja_token *wider = arena_alloc_array(lex->arena, cap, sizeof(*wider));
        if (wider == NULL)
            return error_set(lex->err, -ENOMEM, "no memory for a chat template");
        if (tokens->num > 0)
            memcpy(wider, tokens->tokens, tokens->num * sizeof(*wider));
        tokens->tokens = wider;
        tokens->cap = cap;
    }
    token.line = lex->line;
    tokens->tokens[tokens->num++] = token;
    return 0;
}

static int push_span(struct lexer *lex, enum jinja_token_type type, size_t from, size_t to)
{
    return push(lex,
                (struct jinja_token){ .type = type, .text = lex->text + from, .len = to - from });
}

static void count_lines(struct lexer *lex, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        lex->line += lex->text[i] == '\n';
}

static void advance(struct lexer *lex, size_t to)
{
    count_lines(lex, lex->at, to);
    lex->at = to;
}

static bool is_at(const struct lexer *lex, size_t at, const char *word)
{
    const size_t len = strlen(word);
    return at <= lex->len && len <= lex->len - at && memcmp(lex->text + at, word, len) == 0;
}

static size_t skip_space(const struct lexer *lex, size_t at)
{
    return at + jinja_text_leading_space(lex->text + at, lex->len - at);
}

/* A tag of one word, {% raw %} or {% endraw %}: where it ends and the sign there, or 0. */
static size_t match_word_tag(const struct lexer *lex, size_t at, const char *word, char *ret_sign)
{
    if (!is_at(lex, at, "{%"))
        return 0;
    at += 2;
    if (at < lex->len && (lex->text[at] == '-' || lex->text[at] == '+'))
        at++;
    at = skip_space(lex, at);
    if (!is_at(lex, at, word))
        return 0;
    at = skip_space(lex, at + strlen(word));
    *ret_sign = at < lex->len ? lex->text[at] : ' ';
    at += *ret_sign == '-' || *ret_sign == '+';
    return is_at(lex, at, "%}") ? at + 2 : 0;
}

/* {% raw +%} is not one: the sign is known at its end only. */
static size_t match_raw(const struct lexer *lex, size_t at, char *ret_sign)
{
    const size_t after = match_word_tag(lex, at, "raw", ret_sign);
    return *ret_sign == '+' ? 0 : after;
}

static enum tag tag_at(const struct lexer *lex, size_t at)
{
    char sign = ' ';
    if (lex->text[at] != '{' || at + 1 >= lex->len)
        return TAG_NONE;
    switch (lex->text[at + 1]) {
    case '%':
        return match_raw(lex, at, &sign) > 0 ? TAG_RAW : TAG_BLOCK;
    case '{':
        return TAG_PRINT;
    case '#':
        return TAG_COMMENT;
    default:
        return TAG_NONE;
    }
}

/* Where the data before a tag at `tag_at` ends, by the tag's sign and lstrip_blocks. */
static size_t data_end(const struct lexer *lex, size_t from, size_t tag_at, bool is_print)
{
    const char sign = tag_at + 2 < lex->len ? lex->text[tag_at + 2] : ' ';
    if (sign == '-')
        return from + jinja_text_trimmed(lex->text + from, tag_at - from);
    if (sign == '+' || is_print)
        return tag_at;
    size_t line_at = tag_at;
    while (line_at > from && lex->text[line_at - 1] != '\n')
        line_at--;
    if (line_at == from && !lex->line_starting)
        return tag_at;
    return skip_space(lex, line_at) >= tag_at ? line_at : tag_at;
}

static int lex_data(struct lexer *lex, size_t to, bool is_print)
{
    const size_t from = lex->at;
    const size_t end = to == lex->len ? to : data_end(lex, from, to, is_print);
    const int r = end > from ? push_span(lex, JINJA_TOKEN_DATA, from, end) : 0;
    advance(lex, to);
    return r;
}

/* Behind the end of a tag: `-` takes all white space, trim_blocks one line end. */
static void finish_tag(struct lexer *lex, size_t after, char sign, bool trims)
{
    size_t to = after;
    if (sign == '-')
        to = skip_space(lex, to);
    else if (sign != '+' && trims && to < lex->len && lex->text[to] == '\n')
        to++;
    advance(lex, to);
    lex->line_starting = lex->text[to - 1] == '\n';
}

static int lex_comment(struct lexer *lex)
{
    size_t from = lex->at + 2;
    if (from < lex->len && (lex->text[from] == '-' || lex->text[from] == '+'))
        from++;
    const char *end = memmem(lex->text + from, lex->len - from, "#}", 2);
    if (end == NULL)
        return error_set(lex->err, -EINVAL, "chat template, line %u: a comment has no end",
                         lex->line);
    const char sign = end > lex->text + from ? end[-1] : ' ';
    finish_tag(lex, (size_t)(end - lex->text) + 2, sign, true);
    return 0;
}

static int lex_raw(struct lexer *lex)
{
    char sign = ' ';
    const size_t begin = match_raw(lex, lex->at, &sign);
    finish_tag(lex, begin, sign, false);
    for (size_t at = lex->at; at + 1 < lex->len; at++) {
        const size_t after = match_word_tag(lex, at, "endraw", &sign);
        if (after == 0)
            continue;
        const int r = lex_data(lex, at, false);
        finish_tag(lex, after, sign, true);
        return r;
    }
    return error_set(lex->err, -EINVAL, "chat template, line %u: a raw block has no end",
                     lex->line);
}

static int lex_text_literal(struct lexer *lex)
{
    const char quote = lex->text[lex->at];
    size_t to = lex->at + 1;
    while (to < lex->len && lex->text[to] != quote)
        to += lex->text[to] == '\\' ? 2 : 1;
    if (to >= lex->len)
        return error_set(lex->err, -EINVAL, "chat template, line %u: a string has no end",
                         lex->line);
    struct jinja_token token = { .type = JINJA_TOKEN_TEXT };
    int r = jinja_literal_text(lex->arena, lex->text + lex->at + 1, to - lex->at - 1, lex->line,
                               &token.text, &token.len, lex->err);
    if (r == 0)
        r = push(lex, token);
    advance(lex, to + 1);
    return r;
}

static int lex_number(struct lexer *lex)
{
    struct jinja_token token = { .text = lex->text + lex->at };
    int64_t integer;
    double real;
    const bool after_dot = lex->at > 0 && lex->text[lex->at - 1] == '.';
    size_t len = after_dot ? 0 : jinja_literal_float(token.text, lex->len - lex->at, &real);
    if (len > 0) {
        token.type = JINJA_TOKEN_FLOAT;
        token.number.real = real;
    } else {
        len = jinja_literal_int(token.text, lex->len - lex->at, &integer);
        if (len == 0)
            return error_set(lex->err, -ENOTSUP,
                             "chat template, line %u: an integer beyond 64 bits", lex->line);
        token.type = JINJA_TOKEN_INT;
        token.number.integer = integer;
    }
    token.len = len;
    const int r = push(lex, token);
    lex->at += len;
    return r;
}

static int lex_operator(struct lexer *lex, char *open, size_t *depth)
{
    static const char *const pairs[] = { "//", "**", "==", "!=", ">=", "<=" };
    const char c = lex->text[lex->at];
    size_t len = 1;

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (is_at(lex, lex->at, pairs[i]))
            len = 2;
    if (len == 1 && (c == '\0' || strchr("+-/*%~[](){}><=.:|,;", c) == NULL))
        return error_set(lex->err, -EINVAL, "chat template, line %u: unexpected character '%.*s'",
                         lex->line, (c & 0x80) ? 0 : 1, &lex->text[lex->at]);
    if (strchr("([{", c) != NULL) {
        if (*depth == MAX_OPEN_BRACKETS)
            return error_set(lex->err, -EINVAL,
                             "chat template, line %u: more than %d brackets open", lex->line,
                             MAX_OPEN_BRACKETS);
        open[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c) != NULL && (*depth == 0 || open[--*depth] != c))
        return error_set(lex->err, -EINVAL, "chat template, line %u: unexpected '%c'", lex->line,
                         c);
    const int r = push_span(lex, JINJA_TOKEN_OPERATOR, lex->at, lex->at + len);
    lex->at += len;
    return r;
}

static int lex_one(struct lexer *lex, char *open, size_t *depth)
{
    const char c = lex->text[lex->at];
    const size_t space = skip_space(lex, lex->at);
    if (space > lex->at) {
        advance(lex, space);
        return 0;
    }
    if (c == '\'' || c == '"')
        return lex_text_literal(lex);
    if (isdigit((unsigned char)c))
        return lex_number(lex);
    const size_t name = jinja_text_name_len(lex->text + lex->at, lex->len - lex->at);
    if (name == 0)
        return lex_operator(lex, open, depth);
    const int r = push_span(lex, JINJA_TOKEN_NAME, lex->at, lex->at + name);
    lex->at += name;
    return r;
}

/* True when the tag ends here; a closing mark inside brackets is not its end. */
static bool tag_ends(struct lexer *lex, bool is_block, size_t depth, int *ret)
{
    const char *end = is_block ? "%}" : "}}";
    const char c = lex->text[lex->at];
    const bool is_signed = c == '-' || (c == '+' && is_block);
    if (depth > 0 || !is_at(lex, lex->at + is_signed, end))
        return false;
    *ret =
        push_span(lex, is_block ? JINJA_TOKEN_BLOCK_END : JINJA_TOKEN_PRINT_END, lex->at, lex->at);
    finish_tag(lex, lex->at + is_signed + 2, is_signed ? c : ' ', is_block);
    return true;
}

static int lex_tag(struct lexer *lex, bool is_block)
{
    char open[MAX_OPEN_BRACKETS];
    size_t depth = 0;
    int r = push_span(lex, is_block ? JINJA_TOKEN_BLOCK_BEGIN : JINJA_TOKEN_PRINT_BEGIN, lex->at,
                      lex->at);
    lex->at += 2;
    if (lex->at < lex->len && (lex->text[lex->at] == '-' || lex->text[lex->at] == '+'))
        lex->at++;
    while (r == 0 && lex->at < lex->len) {
        if (tag_ends(lex, is_block, depth, &r))
            return r;
        r = lex_one(lex, open, &depth);
    }
    if (r == 0)
        r = error_set(lex->err, -EINVAL, "chat template, line %u: the source ends inside a tag",
                      lex->line);
    return r;
}

static int lex_next(struct lexer *lex)
{
    size_t to = lex->at;
    enum tag tag = TAG_NONE;
    while (to < lex->len && (tag = tag_at(lex, to)) == TAG_NONE)
        to++;
    if (to == lex->len)
        tag = TAG_NONE;
    const int r = lex_data(lex, to, tag == TAG_PRINT);
    if (r < 0)
        return r;
    switch (tag) {
    case TAG_BLOCK:
    case TAG_PRINT:
        return lex_tag(lex, tag == TAG_BLOCK);
    case TAG_COMMENT:
        return lex_comment(lex);
    case TAG_RAW:
        return lex_raw(lex);
    case TAG_NONE:
        break;
    }
    return 0;
}

/* A copy with \r\n and \r as \n and without one line end at the end. */
static int normalize(struct lexer *lex, const char *source, size_t len)
{
    char *text = arena_alloc(lex->arena, len + 1);
    if (text == NULL)
        return error_set(lex->err, -ENOMEM, "no memory for a chat template");
    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\n' && i > 0 && source[i - 1] == '\r')
            continue;
        text[lex->len++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (lex->len > 0 && text[lex->len - 1] == '\n')
        lex->len--;
    lex->text = text;
    return 0;
}

int jinja_lexer_run(struct arena *arena, const char *source, size_t len,
                    struct jinja_tokens *ret_tokens, struct error *err)
{
    struct lexer lex = { .arena = arena, .line = 1, .line_starting = true, .err = err };
    int r = normalize(&lex, source, len);
    while (r == 0 && lex.at < lex.len)
        r = lex_next(&lex);
    if (r == 0)
        r = push(&lex, (struct jinja_token){ .type = JINJA_TOKEN_END, .text = "" });
    if (r == 0)
        *ret_tokens = lex.tokens;
    return r;
}
