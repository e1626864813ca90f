#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_parser.h"

/* Low binds loosely. `not` stands between, as a prefix. */
enum level {
    LEVEL_OR = 1,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARE,
    LEVEL_SUM,
    LEVEL_CONCAT,
    LEVEL_PRODUCT,
    LEVEL_POWER,
    LEVEL_UNARY,
};

struct operator_row {
    const char *text;
    enum level level;
    enum jinja_op op;
    bool is_word;
};

static const struct operator_row operators[] = {
    { "or", LEVEL_OR, JINJA_OP_OR, true },
    { "and", LEVEL_AND, JINJA_OP_AND, true },
    { "==", LEVEL_COMPARE, JINJA_OP_EQUAL, false },
    { "!=", LEVEL_COMPARE, JINJA_OP_NOT_EQUAL, false },
    { "<", LEVEL_COMPARE, JINJA_OP_LESS, false },
    { "<=", LEVEL_COMPARE, JINJA_OP_LESS_EQUAL, false },
    { ">", LEVEL_COMPARE, JINJA_OP_GREATER, false },
    { ">=", LEVEL_COMPARE, JINJA_OP_GREATER_EQUAL, false },
    { "in", LEVEL_COMPARE, JINJA_OP_IN, true },
    { "not", LEVEL_COMPARE, JINJA_OP_NOT_IN, true },
    { "+", LEVEL_SUM, JINJA_OP_ADD, false },
    { "-", LEVEL_SUM, JINJA_OP_SUBTRACT, false },
    { "~", LEVEL_CONCAT, JINJA_OP_CONCAT, false },
    { "*", LEVEL_PRODUCT, JINJA_OP_MULTIPLY, false },
    { "/", LEVEL_PRODUCT, JINJA_OP_DIVIDE, false },
    { "//", LEVEL_PRODUCT, JINJA_OP_FLOOR_DIVIDE, false },
    { "%", LEVEL_PRODUCT, JINJA_OP_MODULO, false },
    { "**", LEVEL_POWER, JINJA_OP_POWER, false },
};

static struct jinja_node *read_binary(struct jinja_parser *parser, enum level lowest);

static bool token_is(const struct jinja_token *token, enum jinja_token_type type, const char *text)
{
    return token->type == type && token->len == strlen(text) &&
           memcmp(token->text, text, token->len) == 0;
}

static const struct operator_row *operator_at(const struct jinja_parser *parser)
{
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        const struct operator_row *row = &operators[i];
        if (!token_is(token, row->is_word ? JINJA_TOKEN_NAME : JINJA_TOKEN_OPERATOR, row->text))
            continue;
        if (row->op == JINJA_OP_NOT_IN &&
            !token_is(jinja_parser_token(parser, 1), JINJA_TOKEN_NAME, "in"))
            return NULL;
        return row;
    }
    return NULL;
}

static void skip_operator(struct jinja_parser *parser, const struct operator_row *row)
{
    jinja_parser_next(parser);
    if (row->op == JINJA_OP_NOT_IN)
        jinja_parser_next(parser);
}

static struct jinja_node *read_name(struct jinja_parser *parser)
{
    static const struct {
        const char *text;
        uint8_t special;
    } specials[] = { { "caller", JINJA_SPECIAL_CALLER },
                     { "varargs", JINJA_SPECIAL_VARARGS },
                     { "kwargs", JINJA_SPECIAL_KWARGS } };
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    struct jinja_node *node = jinja_parser_node(parser, JINJA_NAME);

    node->name = jinja_parser_intern(parser, token->text, token->len);
    if (parser->status == 0)
        parser->names[node->name].is_read = true;
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
        if (token_is(token, JINJA_TOKEN_NAME, specials[i].text) &&
            (parser->special_writes & specials[i].special) == 0)
            parser->special_reads |= specials[i].special;
    jinja_parser_next(parser);
    return node;
}

static bool read_constant_word(const struct jinja_token *token, struct jinja_value *ret)
{
    static const struct {
        const char *text;
        struct jinja_value value;
    } words[] = {
        { "true", { .type = JINJA_BOOL, .of.integer = 1 } },
        { "True", { .type = JINJA_BOOL, .of.integer = 1 } },
        { "false", { .type = JINJA_BOOL } },
        { "False", { .type = JINJA_BOOL } },
        { "none", { .type = JINJA_NONE } },
        { "None", { .type = JINJA_NONE } },
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!token_is(token, JINJA_TOKEN_NAME, words[i].text))
            continue;
        *ret = words[i].value;
        return true;
    }
    return false;
}

static struct jinja_node *constant(struct jinja_parser *parser, struct jinja_value value)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_CONST);
    node->value = value;
    return node;
}

/* Literals that follow each other are one. */
static struct jinja_node *read_text(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_CONST);
    const size_t first = parser->at;
    size_t len = 0;

    for (; jinja_parser_token(parser, 0)->type == JINJA_TOKEN_TEXT; jinja_parser_next(parser))
        len += jinja_parser_token(parser, 0)->len;
    char *text = arena_alloc(parser->arena, len + 1);
    if (text == NULL) {
        jinja_parser_fail(parser, -ENOMEM, "no memory");
        return node;
    }
    len = 0;
    for (size_t i = first; i < parser->at && parser->status == 0; i++) {
        const struct jinja_token *token = &parser->tokens.tokens[i];
        if (token->len > 0)
            memcpy(text + len, token->text, token->len);
        len += token->len;
    }
    node->value = jinja_parser_text(parser, text, len);
    return node;
}

static struct jinja_node *read_list(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_LIST_NODE);
    struct jinja_node **tail = &node->list;

    jinja_parser_expect(parser, "[");
    while (parser->status == 0 && !jinja_parser_is(parser, "]")) {
        if (node->list != NULL)
            jinja_parser_expect(parser, ",");
        if (jinja_parser_is(parser, "]"))
            break;
        *tail = jinja_parser_adopt(parser, node, jinja_expression_read(parser));
        tail = &(*tail)->next;
    }
    jinja_parser_expect(parser, "]");
    return node;
}

static struct jinja_node *read_dict(struct jinja_parser *parser)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_DICT_NODE);
    struct jinja_node **tail = &node->list;

    jinja_parser_expect(parser, "{");
    while (parser->status == 0 && !jinja_parser_is(parser, "}")) {
        if (node->list != NULL)
            jinja_parser_expect(parser, ",");
        if (jinja_parser_is(parser, "}"))
            break;
        struct jinja_node *pair = jinja_parser_node(parser, JINJA_PAIR);
        pair->a = jinja_parser_adopt(parser, pair, jinja_expression_read(parser));
        jinja_parser_expect(parser, ":");
        pair->b = jinja_parser_adopt(parser, pair, jinja_expression_read(parser));
        *tail = jinja_parser_adopt(parser, node, pair);
        tail = &(*tail)->next;
    }
    jinja_parser_expect(parser, "}");
    return node;
}

static struct jinja_node *read_bracketed(struct jinja_parser *parser)
{
    jinja_parser_expect(parser, "(");
    struct jinja_node *node = jinja_expression_read_tuple(parser, JINJA_TUPLE_IN_BRACKETS);
    jinja_parser_expect(parser, ")");
    return node;
}

struct jinja_node *jinja_expression_read_primary(struct jinja_parser *parser)
{
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    struct jinja_value value;

    switch (token->type) {
    case JINJA_TOKEN_NAME:
        if (!read_constant_word(token, &value))
            return read_name(parser);
        jinja_parser_next(parser);
        return constant(parser, value);
    case JINJA_TOKEN_TEXT:
        return read_text(parser);
    case JINJA_TOKEN_INT:
        jinja_parser_next(parser);
        return constant(parser, jinja_int(token->number.integer));
    case JINJA_TOKEN_FLOAT:
        jinja_parser_next(parser);
        return constant(parser, jinja_float(token->number.real));
    default:
        break;
    }
    if (jinja_parser_is(parser, "("))
        return read_bracketed(parser);
    if (jinja_parser_is(parser, "["))
        return read_list(parser);
    if (jinja_parser_is(parser, "{"))
        return read_dict(parser);
    jinja_parser_fail(parser, -EINVAL, "an expression is wanted, not '%.*s'",
                      (int)(token->len > 40 ? 40 : token->len), token->text);
    return &parser->spare;
}

static struct jinja_node *read_slice_part(struct jinja_parser *parser, struct jinja_node *slice)
{
    if (jinja_parser_is(parser, ":") || jinja_parser_is(parser, "]") ||
        jinja_parser_is(parser, ","))
        return NULL;
    return jinja_parser_adopt(parser, slice, jinja_expression_read(parser));
}

static struct jinja_node *read_subscript(struct jinja_parser *parser)
{
    if (jinja_parser_is(parser, "]")) /* x[] is x[()] */
        return jinja_parser_node(parser, JINJA_TUPLE_NODE);
    struct jinja_node *slice = jinja_parser_node(parser, JINJA_SLICE);
    slice->a = read_slice_part(parser, slice);
    if (!jinja_parser_skip(parser, ":")) {
        if (slice->a == NULL)
            jinja_parser_fail(parser, -EINVAL, "a subscript is wanted");
        return slice->a == NULL ? &parser->spare : slice->a;
    }
    slice->b = read_slice_part(parser, slice);
    if (jinja_parser_skip(parser, ":"))
        slice->c = read_slice_part(parser, slice);
    return slice;
}

static struct jinja_node *read_item(struct jinja_parser *parser, struct jinja_node *of)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_ITEM);
    node->a = jinja_parser_adopt(parser, node, of);
    jinja_parser_expect(parser, "[");
    node->b = jinja_parser_adopt(parser, node, read_subscript(parser));
    if (node->b->kind == JINJA_SLICE)
        node->kind = JINJA_SLICE_ITEM;
    if (jinja_parser_is(parser, ","))
        jinja_parser_fail(parser, -ENOTSUP, "more than one subscript in [ ] is not supported");
    jinja_parser_expect(parser, "]");
    return node;
}

static struct jinja_node *read_attribute(struct jinja_parser *parser, struct jinja_node *of)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_ATTRIBUTE);
    node->a = jinja_parser_adopt(parser, node, of);
    jinja_parser_expect(parser, ".");
    const struct jinja_token *token = jinja_parser_token(parser, 0);
    if (token->type == JINJA_TOKEN_INT) {
        jinja_parser_next(parser);
        node->kind = JINJA_ITEM;
        node->b =
            jinja_parser_adopt(parser, node, constant(parser, jinja_int(token->number.integer)));
        return node;
    }
    token = jinja_parser_expect_name(parser);
    node->value = jinja_parser_text(parser, token->text, token->len);
    return node;
}

struct jinja_node *jinja_expression_read_postfix(struct jinja_parser *parser,
                                                 struct jinja_node *node)
{
    while (parser->status == 0) {
        if (jinja_parser_is(parser, "."))
            node = read_attribute(parser, node);
        else if (jinja_parser_is(parser, "["))
            node = read_item(parser, node);
        else if (jinja_parser_is(parser, "("))
            node = jinja_apply_call(parser, node);
        else
            break;
    }
    return node;
}

static struct jinja_node *read_unary(struct jinja_parser *parser, bool with_filters)
{
    struct jinja_node *node = &parser->spare;
    if (!jinja_parser_enter(parser))
        return node;
    if (jinja_parser_is(parser, "-") || jinja_parser_is(parser, "+")) {
        node = jinja_parser_node(parser, JINJA_UNARY);
        node->op = jinja_parser_is(parser, "-") ? JINJA_OP_NEGATIVE : JINJA_OP_POSITIVE;
        jinja_parser_next(parser);
        node->a = jinja_parser_adopt(parser, node, read_unary(parser, false));
    } else
        node = jinja_expression_read_primary(parser);
    node = jinja_expression_read_postfix(parser, node);
    if (with_filters)
        node = jinja_apply_all(parser, node);
    jinja_parser_leave(parser);
    return node;
}

static struct jinja_node *read_not(struct jinja_parser *parser)
{
    struct jinja_node *node = &parser->spare;
    if (!jinja_parser_enter(parser))
        return node;
    node = jinja_parser_node(parser, JINJA_UNARY);
    node->op = JINJA_OP_NOT;
    jinja_parser_next(parser);
    node->a = jinja_parser_adopt(parser, node, read_binary(parser, LEVEL_NOT));
    jinja_parser_leave(parser);
    return node;
}

static struct jinja_node *read_compare(struct jinja_parser *parser, struct jinja_node *left)
{
    struct jinja_node *node = jinja_parser_node(parser, JINJA_COMPARE);
    struct jinja_node **tail = &node->list;
    const struct operator_row *row;

    node->a = jinja_parser_adopt(parser, node, left);
    while ((row = operator_at(parser)) != NULL && row->level == LEVEL_COMPARE) {
        struct jinja_node *operand = jinja_parser_node(parser, JINJA_OPERAND);
        operand->op = row->op;
        skip_operator(parser, row);
        operand->a = jinja_parser_adopt(parser, operand, read_binary(parser, LEVEL_SUM));
        *tail = jinja_parser_adopt(parser, node, operand);
        tail = &operand->next;
        if (parser->status != 0)
            break;
    }
    return node;
}

static struct jinja_node *read_binary(struct jinja_parser *parser, enum level lowest)
{
    const struct operator_row *row;
    struct jinja_node *left = lowest <= LEVEL_NOT && jinja_parser_is_name(parser, "not")
                                  ? read_not(parser)
                                  : read_unary(parser, true);

    while ((row = operator_at(parser)) != NULL && row->level >= lowest && parser->status == 0) {
        if (row->level == LEVEL_COMPARE) {
            left = read_compare(parser, left);
            continue;
        }
        struct jinja_node *node = jinja_parser_node(parser, JINJA_BINARY);
        node->op = row->op;
        skip_operator(parser, row);
        node->a = jinja_parser_adopt(parser, node, left);
        node->b = jinja_parser_adopt(parser, node, read_binary(parser, row->level + 1));
        left = node;
    }
    return left;
}

static struct jinja_node *read_condition(struct jinja_parser *parser)
{
    const struct jinja_node *unknown_before = parser->unknown;
    struct jinja_node *then = &parser->spare;
    if (!jinja_parser_enter(parser))
        return then;
    then = read_binary(parser, LEVEL_OR);
    while (parser->status == 0 && jinja_parser_skip_name(parser, "if")) {
        struct jinja_node *node = jinja_parser_node(parser, JINJA_COND);
        parser->unknown = unknown_before;
        parser->soft_depth++;
        node->b = jinja_parser_adopt(parser, node, then);
        node->a = jinja_parser_adopt(parser, node, read_binary(parser, LEVEL_OR));
        if (jinja_parser_skip_name(parser, "else"))
            node->c = jinja_parser_adopt(parser, node, read_condition(parser));
        parser->soft_depth--;
        then = node;
    }
    jinja_parser_leave(parser);
    return then;
}

struct jinja_node *jinja_expression_read(struct jinja_parser *parser)
{
    return read_condition(parser);
}

struct jinja_node *jinja_expression_read_plain(struct jinja_parser *parser)
{
    return read_binary(parser, LEVEL_OR);
}
