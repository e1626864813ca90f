#include "text/jinja/jinja_parts.h"

#include <string.h>

#include "text/jinja/jinja_walk.h"

struct search {
    struct jinja_template *template;
    struct jinja_node **macros; /* [num_names] the macro of that name, or NULL */
    bool *is_content;           /* [num_names] */
    bool changed, wanted;
};

static bool is_content(const struct search *search, const struct jinja_node *node)
{
    if (node == NULL)
        return false;
    switch (node->kind) {
    case JINJA_ATTRIBUTE:
        return jinja_is_text(node->value, "content");
    case JINJA_ITEM:
        return node->b->kind == JINJA_CONST && jinja_is_text(node->b->value, "content");
    case JINJA_NAME:
        return search->is_content[node->name];
    case JINJA_FILTER:
    case JINJA_SLICE_ITEM:
        return is_content(search, node->a);
    case JINJA_BINARY:
        return (node->op == JINJA_OP_OR || node->op == JINJA_OP_AND) &&
               (is_content(search, node->a) || is_content(search, node->b));
    case JINJA_COND:
        return is_content(search, node->b) || is_content(search, node->c);
    default:
        return false;
    }
}

static bool find_macro(struct jinja_node *node, void *state)
{
    struct search *search = state;
    if (node->kind == JINJA_MACRO_NODE)
        search->macros[node->name] = node;
    return true;
}

static void mark(struct search *search, uint32_t name)
{
    search->changed = search->changed || !search->is_content[name];
    search->is_content[name] = true;
}

static bool spread(struct jinja_node *node, void *state)
{
    struct search *search = state;
    if (node->kind == JINJA_SET && node->target->kind == JINJA_NAME && is_content(search, node->a))
        mark(search, node->target->name);
    if (node->kind != JINJA_CALL || node->a->kind != JINJA_NAME ||
        search->macros[node->a->name] == NULL)
        return true;
    const struct jinja_node *param = search->macros[node->a->name]->params;
    for (const struct jinja_node *arg = node->call->args; arg != NULL && param != NULL;
         arg = arg->next, param = param->next)
        if (is_content(search, arg))
            mark(search, param->name);
    return true;
}

static bool is_number_of_content(const struct search *search, const struct jinja_node *node)
{
    return node->kind == JINJA_ITEM && node->b->kind == JINJA_CONST &&
           node->b->value.type == JINJA_INT && is_content(search, node->a);
}

static bool find_use(struct jinja_node *node, void *state)
{
    struct search *search = state;
    if (node->kind == JINJA_FOR && is_content(search, node->a))
        search->wanted = true;
    if ((node->kind == JINJA_ATTRIBUTE || node->kind == JINJA_ITEM) &&
        is_number_of_content(search, node->a))
        search->wanted = true;
    return !search->wanted;
}

bool jinja_parts_wanted(struct jinja_template *template)
{
    enum { MAX_ROUNDS = 8 }; /* of `set b = a` against the order of the text */
    struct search search = { .template = template };
    const size_t num = template->num_names;

    search.macros = arena_alloc_array(&template->arena, num, sizeof(*search.macros));
    search.is_content = arena_alloc_array(&template->arena, num, sizeof(*search.is_content));
    if (search.macros == NULL || search.is_content == NULL)
        return false;
    jinja_walk(template->body, find_macro, &search);
    search.changed = true;
    for (int round = 0; round < MAX_ROUNDS && search.changed; round++) {
        search.changed = false;
        jinja_walk(template->body, spread, &search);
    }
    jinja_walk(template->body, find_use, &search);
    return search.wanted;
}
