#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_parser.h"

static bool at_tuple_end(const struct jinja_parser *parser)
{
    const enum jinja_token_type type = jinja_parser_token(parser, 0)->type;
    return type == JINJA_TOKEN_PRINT_END || type == JINJA_TOKEN_BLOCK_END ||
           type == JINJA_TOKEN_END || jinja_parser_is(parser, ")");
}

struct jinja_node *jinja_expression_read_tuple(struct jinja_parser *parser, unsigned flags)
{
    struct jinja_node *tuple = jinja_parser_node(parser, JINJA_TUPLE_NODE);
    struct jinja_node **tail = &tuple->list;
    bool is_tuple = false;

    while (parser->status == 0) {
        if (tuple->list != NULL)
            jinja_parser_expect(parser, ",");
        if (at_tuple_end(parser))
            break;
        struct jinja_node *item = flags & JINJA_TUPLE_NO_CONDITION
                                      ? jinja_expression_read_plain(parser)
                                      : jinja_expression_read(parser);
        *tail = jinja_parser_adopt(parser, tuple, item);
        tail = &item->next;
        if (!jinja_parser_is(parser, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple && tuple->list != NULL)
        return tuple->list;
    if (!is_tuple && (flags & JINJA_TUPLE_IN_BRACKETS) == 0)
        jinja_parser_fail(parser, -EINVAL, "an expression is wanted");
    return tuple;
}

static struct jinja_node *read_targets(struct jinja_parser *parser, bool namespaces);

uint32_t jinja_expression_write_name(struct jinja_parser *parser, const struct jinja_token *token,
                                     bool is_param)
{
    static const struct {
        const char *text;
        uint8_t special;
    } specials[] = { { "caller", JINJA_SPECIAL_CALLER },
                     { "varargs", JINJA_SPECIAL_VARARGS },
                     { "kwargs", JINJA_SPECIAL_KWARGS } };
    static const char *const constants[] = { "true", "True", "false", "False", "none", "None" };

    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
        if (token->len == strlen(constants[i]) &&
            memcmp(token->text, constants[i], token->len) == 0)
            jinja_parser_fail(parser, -EINVAL, "'%s' cannot be assigned to", constants[i]);
    if (!is_param && parser->for_depth > 0 && token->len == 4 &&
        memcmp(token->text, "loop", 4) == 0)
        jinja_parser_fail(parser, -EINVAL, "'loop' cannot be assigned to inside a loop");
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]) && !is_param; i++)
        if (token->len == strlen(specials[i].text) &&
            memcmp(token->text, specials[i].text, token->len) == 0 &&
            (parser->special_reads & specials[i].special) == 0)
            parser->special_writes |= specials[i].special;
    return jinja_parser_intern(parser, token->text, token->len);
}

static struct jinja_node *read_target(struct jinja_parser *parser, bool namespaces)
{
    struct jinja_node *node;
    if (jinja_parser_is(parser, "(")) {
        if (!jinja_parser_enter(parser))
            return &parser->spare;
        jinja_parser_next(parser);
        node = read_targets(parser, namespaces);
        jinja_parser_expect(parser, ")");
        jinja_parser_leave(parser);
        return node;
    }
    node = jinja_parser_node(parser, JINJA_NAME);
    const struct jinja_token *token = jinja_parser_expect_name(parser);
    if (!namespaces || !jinja_parser_skip(parser, ".")) {
        node->name = jinja_expression_write_name(parser, token, false);
        return node;
    }
    node->kind = JINJA_NAMESPACE_TARGET;
    node->name = jinja_parser_intern(parser, token->text, token->len);
    token = jinja_parser_expect_name(parser);
    node->value = jinja_parser_text(parser, token->text, token->len);
    return node;
}

static struct jinja_node *read_targets(struct jinja_parser *parser, bool namespaces)
{
    struct jinja_node *tuple = jinja_parser_node(parser, JINJA_TUPLE_NODE);
    struct jinja_node **tail = &tuple->list;
    bool is_tuple = false;

    while (parser->status == 0) {
        if (tuple->list != NULL)
            jinja_parser_expect(parser, ",");
        if (is_tuple && at_tuple_end(parser))
            break;
        struct jinja_node *item = read_target(parser, namespaces);
        *tail = jinja_parser_adopt(parser, tuple, item);
        tail = &item->next;
        if (!jinja_parser_is(parser, ","))
            break;
        is_tuple = true;
    }
    return is_tuple || tuple->list == NULL ? tuple : tuple->list;
}

struct jinja_node *jinja_expression_read_target(struct jinja_parser *parser, bool namespaces)
{
    return read_targets(parser, namespaces);
}
