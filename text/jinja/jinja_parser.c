#include "text/jinja/jinja_parser.h"

#include <errno.h>
#include <string.h>

static struct jinja_node *read_body(struct jinja_parser *parser, const char *const ends[]);

/* The statements of `body` become children of `node`. */
static struct jinja_node *adopt_list(struct jinja_parser *parser, struct jinja_node *node,
                                     struct jinja_node *body)
{
    for (struct jinja_node *child = body; child != NULL; child = child->next)
        jinja_parser_adopt(parser, node, child);
    return body;
}

/* Up to a tag that begins with one of `ends`, whose name is then the current token. */
static struct jinja_node *read_statements(struct jinja_parser *parser, const char *const ends[])
{
    jinja_parser_skip(parser, ":");
    jinja_parser_expect_type(parser, JINJA_TOKEN_BLOCK_END, "the end of the tag");
    return read_body(parser, ends);
}

static struct jinja_node *read_block(struct jinja_parser *parser, struct jinja_node *node,
                                     const char *end)
{
    const char *const ends[] = { end, NULL };
    struct jinja_node *body = adopt_list(parser, node, read_statements(parser, ends));
    jinja_parser_next(parser);
    return body;
}

static void read_if_branch(struct jinja_parser *parser, struct jinja_node *node)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    node->a = jinja_parser_adopt(parser, node,
                                 jinja_expression_read_tuple(parser, JINJA_TUPLE_NO_CONDITION));
    node->body = adopt_list(parser, node, read_statements(parser, ends));
}

static struct jinja_node *read_if(struct jinja_parser *parser)
{
    struct jinja_node *first = jinja_parser_node(parser, JINJA_IF), *branch = first;
    parser->soft_depth++;
    read_if_branch(parser, first);
    while (jinja_parser_skip_name(parser, "elif")) {
        branch->b = jinja_parser_node(parser, JINJA_IF);
        branch = branch->b;
        read_if_branch(parser, branch);
        first->depth = branch->depth > first->depth ? branch->depth : first->depth;
    }
    if (jinja_parser_skip_name(parser, "else"))
        first->other = read_block(parser, first, "endif");
    else
        jinja_parser_next(parser);
    parser->soft_depth--;
    return first;
}

static struct jinja_node *read_for(struct jinja_parser *parser)
{
    static const char *const ends[] = { "endfor", "else", NULL };
    struct jinja_node *node = jinja_parser_node(parser, JINJA_FOR);

    parser->for_depth++;
    node->target = jinja_parser_adopt(parser, node, jinja_expression_read_target(parser, false));
    if (!jinja_parser_skip_name(parser, "in"))
        jinja_parser_refuse(parser, "'in'");
    node->a = jinja_parser_adopt(parser, node,
                                 jinja_expression_read_tuple(parser, JINJA_TUPLE_NO_CONDITION));
    if (jinja_parser_skip_name(parser, "if"))
        node->b = jinja_parser_adopt(parser, node, jinja_expression_read(parser));
    node->flag = jinja_parser_skip_name(parser, "recursive");
    parser->loop_depth++;
    node->body = adopt_list(parser, node, read_statements(parser, ends));
    parser->loop_depth--;
    if (jinja_parser_skip_name(parser, "else"))
        node->other = read_block(parser, node, "endfor");
    else
        jinja_parser_next(parser);
    parser->for_depth--;
    return node;
}

static struct jinja_node *read_set(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_SET);
    node->target = jinja_parser_adopt(parser, node, jinja_expression_read_target(parser, true));
    if (jinja_parser_skip(parser, "=")) {
        node->a = jinja_parser_adopt(parser, node, jinja_expression_read_tuple(parser, 0));
        return node;
    }
    node->kind = JINJA_SET_BLOCK;
    struct jinja_node *input = jinja_parser_node(parser, JINJA_BLOCK_VALUE);
    struct jinja_node *chain = jinja_apply_filters(parser, input, false);
    node->a = jinja_parser_adopt(parser, node, chain);
    node->body = read_block(parser, node, "endset");
    return node;
}

static void read_signature(struct jinja_parser *parser, struct jinja_node *node)
{
    struct jinja_node **tail = &node->params;
    bool defaults = false;

    jinja_parser_expect(parser, "(");
    while (parser->status == 0 && !jinja_parser_is(parser, ")")) {
        if (node->params != NULL)
            jinja_parser_expect(parser, ",");
        struct jinja_node *param = jinja_parser_node(parser, JINJA_PARAM);
        param->name = jinja_expression_write_name(parser, jinja_parser_expect_name(parser), true);
        if (jinja_parser_skip(parser, "=")) {
            param->a = jinja_parser_adopt(parser, param, jinja_expression_read(parser));
            defaults = true;
        } else if (defaults)
            jinja_parser_fail(parser, -EINVAL, "a parameter without default behind one with");
        *tail = jinja_parser_adopt(parser, node, param);
        tail = &param->next;
    }
    jinja_parser_expect(parser, ")");
}

/* A macro's body: loops around it end here, and it collects its own special names. */
static void read_macro_body(struct jinja_parser *parser, struct jinja_node *node, const char *end)
{
    const int loop_depth = parser->loop_depth;
    const uint8_t reads = parser->special_reads, writes = parser->special_writes;

    parser->loop_depth = 0;
    parser->special_reads = parser->special_writes = 0;
    node->body = read_block(parser, node, end);
    node->specials = parser->special_reads;
    parser->special_reads = reads | (parser->special_reads & (uint8_t)~writes);
    parser->special_writes = writes;
    parser->loop_depth = loop_depth;
}

static struct jinja_node *read_macro(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_MACRO_NODE);
    node->name = jinja_expression_write_name(parser, jinja_parser_expect_name(parser), false);
    read_signature(parser, node);
    read_macro_body(parser, node, "endmacro");
    return node;
}

static struct jinja_node *read_call_block(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_CALL_BLOCK);
    if (jinja_parser_is(parser, "("))
        read_signature(parser, node);
    node->a = jinja_parser_adopt(parser, node, jinja_expression_read(parser));
    if (node->a->kind != JINJA_CALL)
        jinja_parser_fail(parser, -EINVAL, "'call' wants a call");
    read_macro_body(parser, node, "endcall");
    return node;
}

static struct jinja_node *read_filter_block(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_FILTER_BLOCK);
    struct jinja_node *input = jinja_parser_node(parser, JINJA_BLOCK_VALUE);
    struct jinja_node *chain = jinja_apply_filters(parser, input, true);
    node->a = jinja_parser_adopt(parser, node, chain);
    node->body = read_block(parser, node, "endfilter");
    return node;
}

static struct jinja_node *read_with(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_WITH);
    struct jinja_node **tail = &node->params;

    while (parser->status == 0 && !jinja_parser_is(parser, ":") &&
           jinja_parser_token(parser, 0)->type != JINJA_TOKEN_BLOCK_END) {
        if (node->params != NULL)
            jinja_parser_expect(parser, ",");
        struct jinja_node *param = jinja_parser_node(parser, JINJA_PARAM);
        param->target =
            jinja_parser_adopt(parser, param, jinja_expression_read_target(parser, false));
        jinja_parser_expect(parser, "=");
        param->a = jinja_parser_adopt(parser, param, jinja_expression_read(parser));
        *tail = jinja_parser_adopt(parser, node, param);
        tail = &param->next;
    }
    node->body = read_block(parser, node, "endwith");
    return node;
}

/* Marks what a model generated, for training; it renders as its body, in a scope. */
static struct jinja_node *read_generation(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_SCOPE);
    const int loop_depth = parser->loop_depth;
    parser->loop_depth = 0;
    node->body = read_block(parser, node, "endgeneration");
    parser->loop_depth = loop_depth;
    return node;
}

static struct jinja_node *read_jump(struct jinja_parser *parser, enum jinja_kind kind)
{
    if (parser->loop_depth == 0)
        jinja_parser_fail(parser, -EINVAL, "break or continue outside of a loop");
    return jinja_parser_node(parser, kind);
}

static struct jinja_node *read_break(struct jinja_parser *parser)
{
    return read_jump(parser, JINJA_BREAK);
}

static struct jinja_node *read_continue(struct jinja_parser *parser)
{
    return read_jump(parser, JINJA_CONTINUE);
}

/* {% print a, b %} prints each. */
static struct jinja_node *read_print(struct jinja_parser *parser)
{
    struct jinja_node *first = NULL, **tail = &first;
    while (parser->status == 0 && jinja_parser_token(parser, 0)->type != JINJA_TOKEN_BLOCK_END) {
        if (first != NULL)
            jinja_parser_expect(parser, ",");
        *tail = jinja_parser_node(parser, JINJA_PRINT);
        (*tail)->a = jinja_parser_adopt(parser, *tail, jinja_expression_read(parser));
        tail = &(*tail)->next;
    }
    return first;
}

static struct jinja_node *read_tag(struct jinja_parser *parser)
{
    static const struct {
        const char *name;
        struct jinja_node *(*read)(struct jinja_parser *parser);
    } rows[] = {
        { "if", read_if },           { "for", read_for },
        { "set", read_set },         { "macro", read_macro },
        { "call", read_call_block }, { "filter", read_filter_block },
        { "with", read_with },       { "generation", read_generation },
        { "break", read_break },     { "continue", read_continue },
        { "print", read_print },
    };
    static const char *const left_out[] = { "block", "extends",    "include", "import", "from",
                                            "do",    "autoescape", "trans",   "debug" };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (jinja_parser_skip_name(parser, rows[i].name))
            return rows[i].read(parser);
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
        if (jinja_parser_is_name(parser, left_out[i]))
            jinja_parser_fail(parser, -ENOTSUP, "tag '%s' is not supported", left_out[i]);
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    jinja_parser_fail(parser, -EINVAL, "there is no tag '%.*s' here",
                      (int)(token->len > 40 ? 40 : token->len), token->text);
    return NULL;
}

static bool at_end(const struct jinja_parser *parser, const char *const ends[])
{
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++)
        if (jinja_parser_is_name(parser, ends[i]))
            return true;
    return false;
}

static struct jinja_node *read_data(struct jinja_parser *parser)
{
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    struct jinja_node *node = jinja_parser_node(parser, JINJA_TEXT);
    node->value = jinja_parser_text(parser, token->text, token->len);
    jinja_parser_next(parser);
    return node;
}

static struct jinja_node *read_print_tag(struct jinja_parser *parser)
{
    jinja_parser_next(parser);
    struct jinja_node *node = jinja_parser_node(parser, JINJA_PRINT);
    node->a = jinja_parser_adopt(parser, node, jinja_expression_read_tuple(parser, 0));
    jinja_parser_expect_type(parser, JINJA_TOKEN_PRINT_END, "'}}'");
    return node;
}

static struct jinja_node *read_body(struct jinja_parser *parser, const char *const ends[])
{
    struct jinja_node *first = NULL, **tail = &first;

    if (!jinja_parser_enter(parser))
        return NULL;
    while (parser->status == 0) {
        const enum jinja_token_type type = jinja_parser_token(parser, 0)->type;
        if (type == JINJA_TOKEN_END) {
            if (ends != NULL)
                jinja_parser_fail(parser, -EINVAL, "the source ends before '%s'", ends[0]);
            break;
        }
        if (type == JINJA_TOKEN_DATA) {
            *tail = read_data(parser);
        } else if (type == JINJA_TOKEN_PRINT_BEGIN) {
            *tail = read_print_tag(parser);
        } else {
            jinja_parser_expect_type(parser, JINJA_TOKEN_BLOCK_BEGIN, "a tag");
            if (at_end(parser, ends))
                break;
            *tail = read_tag(parser);
            jinja_parser_expect_type(parser, JINJA_TOKEN_BLOCK_END, "the end of the tag");
        }
        while (parser->status == 0 && *tail != NULL)
            tail = &(*tail)->next;
    }
    jinja_parser_leave(parser);
    return first;
}

static void fail_unknown(struct jinja_parser *parser)
{
    const struct jinja_string *name = parser->unknown->value.of.string;
    parser->status =
        error_set(parser->err, -ENOTSUP, "chat template, line %u: %s '%.*s' is not supported",
                  parser->unknown->line, parser->unknown->kind == JINJA_FILTER ? "filter" : "test",
                  (int)(name->len > 60 ? 60 : name->len), name->data);
}

int jinja_parser_run(const struct jinja_tokens *tokens, struct jinja_template *ret_template,
                     struct error *err)
{
    struct jinja_parser parser = { .arena = &ret_template->arena, .tokens = *tokens, .err = err };
    static const char *const fixed[] = { "loop", "caller", "varargs", "kwargs" };
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        jinja_parser_intern(&parser, fixed[i], strlen(fixed[i]));
    ret_template->body = read_body(&parser, NULL);
    if (parser.status == 0 && parser.unknown != NULL)
        fail_unknown(&parser);
    ret_template->names = parser.names;
    ret_template->num_names = parser.num_names;
    return parser.status;
}
