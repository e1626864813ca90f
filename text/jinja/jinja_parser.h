/*
 * jinja_parser.h - tokens to a tree, by jinja2's grammar
 *
 * Statements are read in jinja_parser.c, expressions in jinja_expression.c, calls, filters and
 * tests in jinja_apply.c, tuples and targets in jinja_tuple.c; jinja_parser_tokens.c is what
 * these share. An error is kept
 * once; from then on the current token is the end of the source and nodes are a spare one, so
 * that every loop ends and nothing is NULL.
 */
#ifndef TEXT_JINJA_PARSER_H
#define TEXT_JINJA_PARSER_H

#include "text/jinja/jinja_ast.h"
#include "text/jinja/jinja_lexer.h"

struct jinja_parser {
    struct arena *arena; /* of the tree */
    struct jinja_tokens tokens;
    size_t at;
    int status;
    struct error *err;
    int nesting;    /* of calls of the parser */
    int loop_depth; /* loops that break and continue can mean */
    int for_depth;  /* loops at all: `loop` must not be assigned to in them */
    int soft_depth; /* conditions around: an unknown filter is an error only when reached */
    const struct jinja_node *unknown;      /* first filter or test that is not there */
    uint8_t special_reads, special_writes; /* enum jinja_specials, in the macro being read */
    struct jinja_name *names;
    size_t num_names, cap_names;
    uint32_t *name_slots; /* [num_name_slots] index + 1 */
    size_t num_name_slots;
    struct jinja_node spare;
};

/*
 * Parse `tokens` into ret_template->body and names, in ret_template->arena.
 *
 * Returns 0; -EINVAL (syntax); -ENOTSUP (a statement, filter or test that is not there, or
 * nesting beyond JINJA_MAX_DEPTH); -ENOMEM.
 */
int jinja_parser_run(const struct jinja_tokens *tokens, struct jinja_template *ret_template,
                     struct error *err);

/* Shared by the two halves. */
const struct jinja_token *jinja_parser_token(const struct jinja_parser *parser, size_t ahead);
bool jinja_parser_is(const struct jinja_parser *parser, const char *op); /* operator */
bool jinja_parser_is_name(const struct jinja_parser *parser, const char *name);
bool jinja_parser_skip(struct jinja_parser *parser, const char *op);
bool jinja_parser_skip_name(struct jinja_parser *parser, const char *name);
void jinja_parser_next(struct jinja_parser *parser);
void jinja_parser_expect(struct jinja_parser *parser, const char *op);
void jinja_parser_expect_type(struct jinja_parser *parser, enum jinja_token_type type,
                              const char *wanted);
void jinja_parser_refuse(struct jinja_parser *parser, const char *wanted); /* the current token */
const struct jinja_token *jinja_parser_expect_name(struct jinja_parser *parser);
__attribute__((format(printf, 3, 4))) void jinja_parser_fail(struct jinja_parser *parser, int code,
                                                             const char *format, ...);
bool jinja_parser_enter(struct jinja_parser *parser);
void jinja_parser_leave(struct jinja_parser *parser);

struct jinja_node *jinja_parser_node(struct jinja_parser *parser, enum jinja_kind kind);

/* Count the child's depth into the node's; returns the child. */
struct jinja_node *jinja_parser_adopt(struct jinja_parser *parser, struct jinja_node *node,
                                      struct jinja_node *child);

uint32_t jinja_parser_intern(struct jinja_parser *parser, const char *text, size_t len);
struct jinja_value jinja_parser_text(struct jinja_parser *parser, const char *text, size_t len);

/* Expressions. */
enum jinja_tuple_flags {
    JINJA_TUPLE_NO_CONDITION = 1, /* no `x if y` outside brackets */
    JINJA_TUPLE_IN_BRACKETS = 2,  /* may be empty */
};

struct jinja_node *jinja_expression_read(struct jinja_parser *parser);
struct jinja_node *jinja_expression_read_tuple(struct jinja_parser *parser, unsigned flags);

/* A name, literal or something in brackets; what stands behind it: .a, [b], (c). */
struct jinja_node *jinja_expression_read_primary(struct jinja_parser *parser);
struct jinja_node *jinja_expression_read_postfix(struct jinja_parser *parser,
                                                 struct jinja_node *node);

/* A call of `of`, with its brackets; all filters, tests and calls behind `node`. */
struct jinja_node *jinja_apply_call(struct jinja_parser *parser, struct jinja_node *of);
struct jinja_node *jinja_apply_all(struct jinja_parser *parser, struct jinja_node *node);

/* What follows `filter` or a `|`: a chain that begins with `input`. */
struct jinja_node *jinja_apply_filters(struct jinja_parser *parser, struct jinja_node *input,
                                       bool inline_first);

/* What `set`, `for` and `with` assign to. */
struct jinja_node *jinja_expression_read_target(struct jinja_parser *parser, bool namespaces);

/* A name that is written (or a parameter): notes what macros and loops must know. */
uint32_t jinja_expression_write_name(struct jinja_parser *parser, const struct jinja_token *token,
                                     bool is_param);

/* Behind a condition, where no inline `if` may stand. */
struct jinja_node *jinja_expression_read_plain(struct jinja_parser *parser);

#endif
