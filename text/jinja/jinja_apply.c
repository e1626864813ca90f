#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_filters.h"
#include "text/jinja/jinja_parser.h"
#include "text/jinja/jinja_tests.h"

static bool token_is_assign(const struct jinja_token *token)
{
    return token->type == JINJA_TOKEN_OPERATOR && token->len == 1 && token->text[0] == '=';
}

static void read_argument(struct jinja_parser *parser, struct jinja_node *node,
                          struct jinja_call *call, struct jinja_node ***args,
                          struct jinja_node ***keywords)
{
    const bool named = jinja_parser_token(parser, 0)->type == JINJA_TOKEN_NAME &&
                       token_is_assign(jinja_parser_token(parser, 1));
    if (jinja_parser_is(parser, "*") && call->star == NULL && call->star_star == NULL) {
        jinja_parser_next(parser);
        call->star = jinja_parser_adopt(parser, node, jinja_expression_read(parser));
    } else if (jinja_parser_is(parser, "**") && call->star_star == NULL) {
        jinja_parser_next(parser);
        call->star_star = jinja_parser_adopt(parser, node, jinja_expression_read(parser));
    } else if (named && call->star_star == NULL) {
        struct jinja_node *keyword = jinja_parser_node(parser, JINJA_KEYWORD);
        const struct jinja_token *token = jinja_parser_expect_name(parser);
        keyword->value = jinja_parser_text(parser, token->text, token->len);
        jinja_parser_expect(parser, "=");
        keyword->a = jinja_parser_adopt(parser, keyword, jinja_expression_read(parser));
        **keywords = jinja_parser_adopt(parser, node, keyword);
        *keywords = &keyword->next;
        call->num_keywords++;
    } else if (call->star == NULL && call->star_star == NULL && call->num_keywords == 0) {
        **args = jinja_parser_adopt(parser, node, jinja_expression_read(parser));
        *args = &(**args)->next;
        call->num_args++;
    } else
        jinja_parser_fail(parser, -EINVAL, "arguments of a call are out of order");
}

static struct jinja_call *read_arguments(struct jinja_parser *parser, struct jinja_node *node)
{
    static struct jinja_call none;
    struct jinja_call *call = arena_alloc(parser->arena, sizeof(*call));
    if (call == NULL) {
        jinja_parser_fail(parser, -ENOMEM, "no memory");
        return &none;
    }
    struct jinja_node **args = &call->args, **keywords = &call->keywords;
    bool first = true;

    jinja_parser_expect(parser, "(");
    while (parser->status == 0 && !jinja_parser_is(parser, ")")) {
        if (!first)
            jinja_parser_expect(parser, ",");
        if (jinja_parser_is(parser, ")"))
            break;
        read_argument(parser, node, call, &args, &keywords);
        first = false;
    }
    jinja_parser_expect(parser, ")");
    return call;
}

struct jinja_node *jinja_apply_call(struct jinja_parser *parser, struct jinja_node *of)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_CALL);
    node->a = jinja_parser_adopt(parser, node, of);
    node->call = read_arguments(parser, node);
    return node;
}

static struct jinja_call *no_arguments(struct jinja_parser *parser)
{
    static struct jinja_call none;
    struct jinja_call *call = arena_alloc(parser->arena, sizeof(*call));
    if (call == NULL)
        jinja_parser_fail(parser, -ENOMEM, "no memory");
    return call == NULL ? &none : call;
}

/* Names of filters and tests may have dots; none of ours has. */
static void read_function_name(struct jinja_parser *parser, struct jinja_node *node)
{
    const struct jinja_token *token = jinja_parser_expect_name(parser);
    node->value = jinja_parser_text(parser, token->text, token->len);
    if (jinja_parser_is(parser, "."))
        jinja_parser_fail(parser, -ENOTSUP, "filter or test '%.*s.' is not supported",
                          (int)(token->len > 40 ? 40 : token->len), token->text);
}

/* Unknown names inside a condition may never be reached; others are reported at the end. */
static void note_unknown(struct jinja_parser *parser, const struct jinja_node *node)
{
    if (parser->status == 0 && parser->soft_depth == 0 && parser->unknown == NULL)
        parser->unknown = node;
}

static struct jinja_node *read_filter(struct jinja_parser *parser, struct jinja_node *input)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_FILTER);
    node->a = jinja_parser_adopt(parser, node, input);
    read_function_name(parser, node);
    if (parser->status == 0) {
        const struct jinja_string *name = node->value.of.string;
        node->filter = jinja_filter_find(name->data, name->len);
        if (node->filter == NULL && jinja_filter_is_left_out(name->data, name->len))
            jinja_parser_fail(parser, -ENOTSUP, "filter '%.*s' is not supported", (int)name->len,
                              name->data);
        else if (node->filter == NULL)
            note_unknown(parser, node);
    }
    node->call = jinja_parser_is(parser, "(") ? read_arguments(parser, node) : no_arguments(parser);
    return node;
}

struct jinja_node *jinja_apply_filters(struct jinja_parser *parser, struct jinja_node *input,
                                       bool inline_first)
{
    while (parser->status == 0 && (inline_first || jinja_parser_skip(parser, "|"))) {
        input = read_filter(parser, input);
        inline_first = false;
    }
    return input;
}

/* `is divisibleby 3`: one argument may stand without brackets. */
static bool at_bare_argument(const struct jinja_parser *parser)
{
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    switch (token->type) {
    case JINJA_TOKEN_NAME:
        return !jinja_parser_is_name(parser, "else") && !jinja_parser_is_name(parser, "or") &&
               !jinja_parser_is_name(parser, "and");
    case JINJA_TOKEN_TEXT:
    case JINJA_TOKEN_INT:
    case JINJA_TOKEN_FLOAT:
        return true;
    default:
        return jinja_parser_is(parser, "[") || jinja_parser_is(parser, "{");
    }
}

static struct jinja_node *read_test(struct jinja_parser *parser, struct jinja_node *input)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_TEST);
    node->a = jinja_parser_adopt(parser, node, input);
    jinja_parser_next(parser);
    node->flag = jinja_parser_skip_name(parser, "not");
    read_function_name(parser, node);
    if (parser->status == 0) {
        const struct jinja_string *name = node->value.of.string;
        node->test = jinja_test_find(name->data, name->len);
        if (node->test == NULL)
            note_unknown(parser, node);
    }
    if (jinja_parser_is(parser, "(")) {
        node->call = read_arguments(parser, node);
        return node;
    }
    node->call = no_arguments(parser);
    if (parser->status == 0 && at_bare_argument(parser)) {
        if (jinja_parser_is_name(parser, "is"))
            jinja_parser_fail(parser, -EINVAL, "tests cannot be chained with 'is'");
        struct jinja_node *arg =
            jinja_expression_read_postfix(parser, jinja_expression_read_primary(parser));
        node->call->args = jinja_parser_adopt(parser, node, arg);
        node->call->num_args = 1;
    }
    return node;
}

struct jinja_node *jinja_apply_all(struct jinja_parser *parser, struct jinja_node *node)
{
    while (parser->status == 0) {
        if (jinja_parser_is(parser, "|"))
            node = jinja_apply_filters(parser, node, false);
        else if (jinja_parser_is_name(parser, "is"))
            node = read_test(parser, node);
        else if (jinja_parser_is(parser, "("))
            node = jinja_apply_call(parser, node);
        else
            break;
    }
    return node;
}
