#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_parser.h"

enum { MAX_NESTING = 500 }; /* calls of the parser: about two and a half per level of nodes */

const struct jinja_token *jinja_parser_token(const struct jinja_parser *parser, size_t ahead)
{
    const size_t last = parser->tokens.num - 1;
    const size_t at = parser->status != 0 ? last : parser->at + ahead;
    return &parser->tokens.tokens[at < last ? at : last];
}

void jinja_parser_next(struct jinja_parser *parser)
{
    if (parser->at < parser->tokens.num - 1)
        parser->at++;
}

void jinja_parser_fail(struct jinja_parser *parser, int code, const char *format, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list args;

    if (parser->status != 0)
        return;
    const uint32_t line = jinja_parser_token(parser, 0)->line;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    parser->status = error_set(parser->err, code, "chat template, line %u: %s", line, text);
}

static bool token_is(const struct jinja_token *token, enum jinja_token_type type, const char *text)
{
    return token->type == type && token->len == strlen(text) &&
           memcmp(token->text, text, token->len) == 0;
}

bool jinja_parser_is(const struct jinja_parser *parser, const char *op)
{
    return token_is(jinja_parser_token(parser, 0), JINJA_TOKEN_OPERATOR, op);
}

bool jinja_parser_is_name(const struct jinja_parser *parser, const char *name)
{
    return token_is(jinja_parser_token(parser, 0), JINJA_TOKEN_NAME, name);
}

bool jinja_parser_skip(struct jinja_parser *parser, const char *op)
{
    const bool found = jinja_parser_is(parser, op);
    if (found)
        jinja_parser_next(parser);
    return found;
}

bool jinja_parser_skip_name(struct jinja_parser *parser, const char *name)
{
    const bool found = jinja_parser_is_name(parser, name);
    if (found)
        jinja_parser_next(parser);
    return found;
}

void jinja_parser_refuse(struct jinja_parser *parser, const char *wanted)
{
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    const bool end = token->type == JINJA_TOKEN_END || token->len == 0;
    jinja_parser_fail(parser, -EINVAL, "%s is wanted, not '%.*s'", wanted,
                      end ? 7 : (int)(token->len > 40 ? 40 : token->len),
                      end ? "the end" : token->text);
}

void jinja_parser_expect(struct jinja_parser *parser, const char *op)
{
    char wanted[8];
    if (jinja_parser_skip(parser, op))
        return;
    snprintf(wanted, sizeof(wanted), "'%s'", op);
    jinja_parser_refuse(parser, wanted);
}

const struct jinja_token *jinja_parser_expect_name(struct jinja_parser *parser)
{
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    if (token->type == JINJA_TOKEN_NAME)
        jinja_parser_next(parser);
    else
        jinja_parser_refuse(parser, "a name");
    return token;
}

void jinja_parser_expect_type(struct jinja_parser *parser, enum jinja_token_type type,
                              const char *wanted)
{
    if (jinja_parser_token(parser, 0)->type == type)
        jinja_parser_next(parser);
    else
        jinja_parser_refuse(parser, wanted);
}

bool jinja_parser_enter(struct jinja_parser *parser)
{
    if (parser->nesting >= MAX_NESTING)
        jinja_parser_fail(parser, -ENOTSUP, "more than %d levels are not supported",
                          JINJA_MAX_DEPTH);
    if (parser->status != 0)
        return false;
    parser->nesting++;
    return true;
}

void jinja_parser_leave(struct jinja_parser *parser)
{
    parser->nesting--;
}

struct jinja_node *jinja_parser_node(struct jinja_parser *parser, enum jinja_kind kind)
{
    struct jinja_node *node = arena_alloc(parser->arena, sizeof(*node));
    if (node == NULL) {
        jinja_parser_fail(parser, -ENOMEM, "no memory");
        node = &parser->spare;
        *node = (struct jinja_node){ 0 };
    }
    node->kind = kind;
    node->line = jinja_parser_token(parser, 0)->line;
    return node;
}

struct jinja_node *jinja_parser_adopt(struct jinja_parser *parser, struct jinja_node *node,
                                      struct jinja_node *child)
{
    if (child->depth >= node->depth)
        node->depth = (uint16_t)(child->depth + 1);
    if (node->depth > JINJA_MAX_DEPTH)
        jinja_parser_fail(parser, -ENOTSUP, "more than %d levels are not supported",
                          JINJA_MAX_DEPTH);
    return child;
}

static uint32_t hash_name(const char *text, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash ^ (hash >> 15);
}

static bool grow_names(struct jinja_parser *parser)
{
    const size_t cap = parser->cap_names == 0 ? 64 : parser->cap_names * 2;
    struct jinja_name *names = arena_alloc_array(parser->arena, cap, sizeof(*names));
    uint32_t *slots = arena_alloc_array(parser->arena, cap * 2, sizeof(*slots));
    if (names == NULL || slots == NULL) {
        jinja_parser_fail(parser, -ENOMEM, "no memory");
        return false;
    }
    for (size_t i = 0; i < parser->num_names; i++) {
        names[i] = parser->names[i];
        size_t at = hash_name(names[i].string.data, names[i].string.len) & (cap * 2 - 1);
        while (slots[at] != 0)
            at = (at + 1) & (cap * 2 - 1);
        slots[at] = (uint32_t)(i + 1);
    }
    parser->names = names;
    parser->cap_names = cap;
    parser->name_slots = slots;
    parser->num_name_slots = cap * 2;
    return true;
}

uint32_t jinja_parser_intern(struct jinja_parser *parser, const char *text, size_t len)
{
    if (parser->status != 0 || (parser->num_names == parser->cap_names && !grow_names(parser)))
        return 0;
    size_t at = hash_name(text, len) & (parser->num_name_slots - 1);
    for (; parser->name_slots[at] != 0; at = (at + 1) & (parser->num_name_slots - 1)) {
        const struct jinja_string *name = &parser->names[parser->name_slots[at] - 1].string;
        if (name->len == len && memcmp(name->data, text, len) == 0)
            return parser->name_slots[at] - 1;
    }
    parser->names[parser->num_names++].string =
        (struct jinja_string){ .data = text, .len = len, .num_chars = utf8_count(text, len) };
    parser->name_slots[at] = (uint32_t)parser->num_names;
    return (uint32_t)parser->num_names - 1;
}

struct jinja_value jinja_parser_text(struct jinja_parser *parser, const char *text, size_t len)
{
    struct jinja_string *string = arena_alloc(parser->arena, sizeof(*string));
    if (string == NULL) {
        jinja_parser_fail(parser, -ENOMEM, "no memory");
        return jinja_undefined(NULL);
    }
    *string = (struct jinja_string){ .data = text, .len = len, .num_chars = utf8_count(text, len) };
    return (struct jinja_value){ .type = JINJA_STRING, .of.string = string };
}
