#include "text/jinja/jinja_unset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_walk.h"

/* What a scope does first with a name. */
enum first { FIRST_NONE, FIRST_READ, FIRST_SET, FIRST_PARAM };

struct finder {
    struct jinja_template *template;
    enum first *first;   /* [num_names] in the scope being looked at */
    uint32_t *num_outer; /* [num_names] scopes around that mention the name */
    uint32_t *names;     /* mentioned in the scope being looked at, behind those of outer ones */
    size_t num, cap;
    int num_ifs; /* around: what is set there may stay unset, so jinja2 reads it first */
    bool failed;
};

static void touch(struct finder *f, uint32_t name, enum first first)
{
    if (f->num_outer[name] > 0 || f->first[name] != FIRST_NONE)
        return;
    if (f->num == f->cap) {
        const size_t cap = f->cap == 0 ? 64 : f->cap * 2;
        uint32_t *wider = realloc(f->names, cap * sizeof(*wider));
        if (wider == NULL) {
            f->failed = true;
            return;
        }
        f->names = wider;
        f->cap = cap;
    }
    f->first[name] = f->num_ifs > 0 && first == FIRST_SET ? FIRST_READ : first;
    f->names[f->num++] = name;
}

static bool read_names(struct jinja_node *node, void *state)
{
    if (node->kind == JINJA_NAME)
        touch(state, node->name, FIRST_READ);
    return true;
}

static bool write_names(struct jinja_node *node, void *state)
{
    if (node->kind == JINJA_NAME)
        touch(state, node->name, FIRST_SET);
    else if (node->kind == JINJA_NAMESPACE_TARGET)
        touch(state, node->name, FIRST_READ);
    return true;
}

static bool declare_names(struct jinja_node *node, void *state)
{
    if (node->kind == JINJA_NAME)
        touch(state, node->name, FIRST_PARAM);
    return true;
}

static void look_at_list(struct finder *f, struct jinja_node *list);

static void look_at_if(struct finder *f, struct jinja_node *node)
{
    f->num_ifs++;
    for (struct jinja_node *branch = node; branch != NULL && !f->failed; branch = branch->b) {
        jinja_walk_one(branch->a, read_names, f);
        look_at_list(f, branch->body);
    }
    look_at_list(f, node->other);
    f->num_ifs--;
}

static void look_at(struct finder *f, struct jinja_node *node)
{
    switch (node->kind) {
    case JINJA_IF:
        look_at_if(f, node);
        break;
    case JINJA_PRINT:
    case JINJA_FOR:
    case JINJA_CALL_BLOCK:
    case JINJA_FILTER_BLOCK:
        jinja_walk_one(node->a, read_names, f);
        break;
    case JINJA_SET:
        jinja_walk_one(node->a, read_names, f);
        jinja_walk_one(node->target, write_names, f);
        break;
    case JINJA_SET_BLOCK:
        jinja_walk_one(node->target, write_names, f);
        break;
    case JINJA_MACRO_NODE:
        touch(f, node->name, FIRST_SET);
        break;
    case JINJA_WITH:
        for (struct jinja_node *param = node->params; param != NULL; param = param->next)
            jinja_walk_one(param->a, read_names, f);
        break;
    default:
        break;
    }
}

static void look_at_list(struct finder *f, struct jinja_node *list)
{
    for (struct jinja_node *node = list; node != NULL && !f->failed; node = node->next)
        look_at(f, node);
}

/* The names that the scope hides, in the template's arena. */
static const uint32_t *collect(struct finder *f, size_t from, size_t *ret_num)
{
    size_t num = 0;
    uint32_t *unset = arena_alloc_array(&f->template->arena, f->num - from, sizeof(*unset));
    *ret_num = 0;
    if (unset == NULL) {
        f->failed = true;
        return NULL;
    }
    for (size_t i = from; i < f->num; i++) {
        const uint32_t name = f->names[i];
        if (f->first[name] == FIRST_SET && f->template->names[name].is_read)
            unset[num++] = name;
    }
    *ret_num = num;
    return unset;
}

static void find_inner(struct finder *f, struct jinja_node *list);

/* With the scope's names noted behind `from`: note what it hides, then look inside. */
static void finish_scope(struct finder *f, size_t from, struct jinja_node *body,
                         const uint32_t **ret_unset, size_t *ret_num)
{
    size_t num;
    const uint32_t *unset = collect(f, from, &num);
    if (ret_unset != NULL) {
        *ret_unset = unset;
        *ret_num = num;
    }
    for (size_t i = from; i < f->num; i++) {
        const uint32_t name = f->names[i];
        f->num_outer[name]++;
        f->first[name] = FIRST_NONE;
    }
    if (!f->failed)
        find_inner(f, body);
    for (size_t i = from; i < f->num; i++)
        f->num_outer[f->names[i]]--;
    f->num = from;
}

static void find_in_for(struct finder *f, struct jinja_node *node)
{
    const size_t from = f->num;
    touch(f, JINJA_NAME_LOOP, FIRST_PARAM);
    jinja_walk_one(node->target, declare_names, f);
    look_at_list(f, node->body);
    finish_scope(f, from, node->body, &node->unset, &node->num_unset);
    look_at_list(f, node->other);
    finish_scope(f, from, node->other, NULL, NULL);
}

static void find_in_macro(struct finder *f, struct jinja_node *node)
{
    static const uint32_t specials[] = { JINJA_NAME_CALLER, JINJA_NAME_VARARGS, JINJA_NAME_KWARGS };
    const size_t from = f->num;
    for (int i = 0; i < 3; i++)
        if (node->specials & (1 << i))
            touch(f, specials[i], FIRST_PARAM);
    for (struct jinja_node *param = node->params; param != NULL; param = param->next)
        touch(f, param->name, FIRST_PARAM);
    for (struct jinja_node *param = node->params; param != NULL; param = param->next)
        jinja_walk_one(param->a, read_names, f);
    look_at_list(f, node->body);
    finish_scope(f, from, node->body, &node->unset, &node->num_unset);
}

static void find_in_block(struct finder *f, struct jinja_node *node)
{
    const size_t from = f->num;
    for (struct jinja_node *param = node->params; param != NULL; param = param->next)
        jinja_walk_one(param->target, declare_names, f);
    look_at_list(f, node->body);
    if (node->kind == JINJA_FILTER_BLOCK)
        jinja_walk_one(node->a, read_names, f);
    finish_scope(f, from, node->body, &node->unset, &node->num_unset);
}

static void find_in(struct finder *f, struct jinja_node *node)
{
    switch (node->kind) {
    case JINJA_IF:
        find_inner(f, node->body);
        for (struct jinja_node *elif = node->b; elif != NULL && !f->failed; elif = elif->b)
            find_inner(f, elif->body);
        find_inner(f, node->other);
        break;
    case JINJA_FOR:
        find_in_for(f, node);
        break;
    case JINJA_MACRO_NODE:
    case JINJA_CALL_BLOCK:
        find_in_macro(f, node);
        break;
    case JINJA_SET_BLOCK:
    case JINJA_FILTER_BLOCK:
    case JINJA_WITH:
    case JINJA_SCOPE:
        find_in_block(f, node);
        break;
    default:
        break;
    }
}

static void find_inner(struct finder *f, struct jinja_node *list)
{
    for (struct jinja_node *node = list; node != NULL && !f->failed; node = node->next)
        find_in(f, node);
}

int jinja_unset_find(struct jinja_template *template, struct error *err)
{
    const size_t num = template->num_names > 0 ? template->num_names : 1;
    struct finder f = { .template = template,
                        .first = calloc(num, sizeof(*f.first)),
                        .num_outer = calloc(num, sizeof(*f.num_outer)) };
    f.failed = f.first == NULL || f.num_outer == NULL;
    if (!f.failed) {
        look_at_list(&f, template->body);
        finish_scope(&f, 0, template->body, &template->unset, &template->num_unset);
    }
    free(f.first);
    free(f.num_outer);
    free(f.names);
    return f.failed ? error_set(err, -ENOMEM, "no memory for a chat template") : 0;
}
