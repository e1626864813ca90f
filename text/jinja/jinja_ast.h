/*
 * jinja_ast.h - a parsed template: nodes, names and constants in one arena, immutable
 */
#ifndef TEXT_JINJA_AST_H
#define TEXT_JINJA_AST_H

#include "text/jinja/jinja_value.h"

enum {
    JINJA_MAX_SOURCE = 1024 * 1024, /* bytes */
    JINJA_MAX_DEPTH = 200,          /* levels of nodes */
};

enum jinja_kind {
    /* Statements. */
    JINJA_TEXT,         /* value */
    JINJA_PRINT,        /* a */
    JINJA_IF,           /* a: test, body, b: the elif behind it, other: else (of the first) */
    JINJA_FOR,          /* target, a: over, b: filter or NULL, body, other: else, flag: recursive */
    JINJA_SET,          /* target, a: value */
    JINJA_SET_BLOCK,    /* target, a: chain of filters or NULL, body */
    JINJA_MACRO_NODE,   /* name, params, body, specials */
    JINJA_CALL_BLOCK,   /* a: the call, params, body, specials */
    JINJA_FILTER_BLOCK, /* a: chain of filters, body */
    JINJA_WITH,         /* params: PARAM with target and a, body */
    JINJA_SCOPE,        /* body: {% generation %} */
    JINJA_BREAK,
    JINJA_CONTINUE,
    JINJA_PARAM, /* name (or target, of a with), a: default or NULL */
    /* Targets of assignments are NAME and TUPLE of targets, and this. */
    JINJA_NAMESPACE_TARGET, /* name, value: attribute */
    /* Expressions. */
    JINJA_CONST,      /* value */
    JINJA_NAME,       /* name */
    JINJA_TUPLE_NODE, /* list */
    JINJA_LIST_NODE,  /* list */
    JINJA_DICT_NODE,  /* list of PAIR: a: key, b: value */
    JINJA_PAIR,
    JINJA_UNARY,   /* op, a */
    JINJA_BINARY,  /* op, a, b */
    JINJA_COMPARE, /* a, list of OPERAND: op, a */
    JINJA_OPERAND,
    JINJA_COND,        /* a: test, b: then, c: else or NULL */
    JINJA_ATTRIBUTE,   /* a, value: name */
    JINJA_ITEM,        /* a, b: key */
    JINJA_SLICE_ITEM,  /* a, b: SLICE */
    JINJA_SLICE,       /* a: start, b: stop, c: step, each may be NULL */
    JINJA_CALL,        /* a, call */
    JINJA_FILTER,      /* a, call, filter (NULL: unknown, an error when reached), value: its name */
    JINJA_TEST,        /* a, call, test (the same), value: its name, flag: negated */
    JINJA_KEYWORD,     /* value: name, a */
    JINJA_BLOCK_VALUE, /* in a chain of filters: the block's text */
};

enum jinja_op {
    JINJA_OP_NOT,
    JINJA_OP_NEGATIVE,
    JINJA_OP_POSITIVE,
    JINJA_OP_OR,
    JINJA_OP_AND,
    JINJA_OP_ADD,
    JINJA_OP_SUBTRACT,
    JINJA_OP_CONCAT,
    JINJA_OP_MULTIPLY,
    JINJA_OP_DIVIDE,
    JINJA_OP_FLOOR_DIVIDE,
    JINJA_OP_MODULO,
    JINJA_OP_POWER,
    JINJA_OP_EQUAL,
    JINJA_OP_NOT_EQUAL,
    JINJA_OP_LESS,
    JINJA_OP_LESS_EQUAL,
    JINJA_OP_GREATER,
    JINJA_OP_GREATER_EQUAL,
    JINJA_OP_IN,
    JINJA_OP_NOT_IN,
};

/* Names that a macro receives only if its body mentions them. */
enum jinja_specials {
    JINJA_SPECIAL_CALLER = 1,
    JINJA_SPECIAL_VARARGS = 2,
    JINJA_SPECIAL_KWARGS = 4,
};

struct jinja_filter;
struct jinja_test;

struct jinja_call {
    struct jinja_node *args; /* positional ones */
    size_t num_args;
    struct jinja_node *keywords; /* KEYWORD */
    size_t num_keywords;
    struct jinja_node *star, *star_star; /* *args and **kwargs, or NULL */
};

struct jinja_node {
    enum jinja_kind kind;
    enum jinja_op op;
    uint32_t line, name; /* name: index into the template's names */
    uint16_t depth;      /* levels of nodes below */
    uint8_t specials;
    bool flag;
    struct jinja_node *next; /* in the list it is part of */
    struct jinja_node *a, *b, *c, *target, *list, *params, *body, *other;
    struct jinja_call *call;
    const struct jinja_filter *filter;
    const struct jinja_test *test;
    struct jinja_value value;
    const uint32_t *unset; /* names that begin unbound in this node's scope, see jinja_names.h */
    size_t num_unset;
};

/* Names that every template has, at fixed places. */
enum { JINJA_NAME_LOOP, JINJA_NAME_CALLER, JINJA_NAME_VARARGS, JINJA_NAME_KWARGS };

struct jinja_name {
    struct jinja_string string;
    bool is_read; /* in an expression */
};

struct jinja_template {
    struct arena arena;
    struct jinja_node *body;
    struct jinja_name *names;
    size_t num_names;
    const uint32_t *unset; /* of the whole template */
    size_t num_unset;
};

#endif
