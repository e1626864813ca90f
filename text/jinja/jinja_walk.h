/*
 * jinja_walk.h - every node of a tree, parents first
 *
 * The recursion is as deep as the tree, which the parser bounds.
 */
#ifndef TEXT_JINJA_WALK_H
#define TEXT_JINJA_WALK_H

#include "text/jinja/jinja_ast.h"

/* Called for each node; false: not the nodes below it. */
typedef bool jinja_walk_fn(struct jinja_node *node, void *state);

/* Walk `list` and what stands behind it in its list. */
void jinja_walk(struct jinja_node *list, jinja_walk_fn *visit, void *state);

/* Walk one node without those behind it. */
void jinja_walk_one(struct jinja_node *node, jinja_walk_fn *visit, void *state);

#endif
