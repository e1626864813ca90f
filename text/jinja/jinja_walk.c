#include "text/jinja/jinja_walk.h"

static void walk_call(const struct jinja_call *call, jinja_walk_fn *visit, void *state)
{
    if (call == NULL)
        return;
    jinja_walk(call->args, visit, state);
    jinja_walk(call->keywords, visit, state);
    jinja_walk(call->star, visit, state);
    jinja_walk(call->star_star, visit, state);
}

void jinja_walk_one(struct jinja_node *node, jinja_walk_fn *visit, void *state)
{
    if (node == NULL || !visit(node, state))
        return;
    jinja_walk_one(node->target, visit, state);
    jinja_walk(node->params, visit, state);
    jinja_walk_one(node->a, visit, state);
    if (node->kind == JINJA_IF) { /* a chain of elif is long, not deep */
        jinja_walk(node->body, visit, state);
        for (struct jinja_node *branch = node->b; branch != NULL; branch = branch->b) {
            jinja_walk_one(branch->a, visit, state);
            jinja_walk(branch->body, visit, state);
        }
        jinja_walk(node->other, visit, state);
        return;
    }
    jinja_walk_one(node->b, visit, state);
    jinja_walk_one(node->c, visit, state);
    jinja_walk(node->list, visit, state);
    walk_call(node->call, visit, state);
    jinja_walk(node->body, visit, state);
    jinja_walk(node->other, visit, state);
}

void jinja_walk(struct jinja_node *list, jinja_walk_fn *visit, void *state)
{
    for (struct jinja_node *node = list; node != NULL; node = node->next)
        jinja_walk_one(node, visit, state);
}
