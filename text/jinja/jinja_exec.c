#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"
#include "text/jinja/jinja_functions.h"
#include "text/jinja/jinja_loop.h"
#include "text/jinja/jinja_print.h"

typedef enum jinja_flow exec_fn(struct jinja_run *run, const struct jinja_node *node);

static void check_output(struct jinja_run *run)
{
    if (run->out->failed)
        jinja_run_fail(run, run->out->len >= run->max_output / 2 ? -E2BIG : -ENOMEM,
                       "more than %zu bytes of text", run->max_output);
}

static void print(struct jinja_run *run, struct jinja_value value)
{
    if (jinja_run_ok(run))
        jinja_print_str(run, run->out, value);
    check_output(run);
}

/* What a block prints must be text: jinja2 joins it without str(). */
static void print_text(struct jinja_run *run, struct jinja_value value)
{
    if (jinja_run_ok(run) && value.type != JINJA_STRING)
        jinja_run_fail(run, -EINVAL, "a block gives %s, text is wanted", jinja_type_name(value));
    print(run, value);
}

static enum jinja_flow exec_text(struct jinja_run *run, const struct jinja_node *node)
{
    print(run, node->value);
    return JINJA_FLOW_ON;
}

static enum jinja_flow exec_print(struct jinja_run *run, const struct jinja_node *node)
{
    print(run, jinja_eval(run, node->a));
    return JINJA_FLOW_ON;
}

static enum jinja_flow exec_if(struct jinja_run *run, const struct jinja_node *node)
{
    for (const struct jinja_node *branch = node; branch != NULL; branch = branch->b) {
        if (jinja_truth(run, jinja_eval(run, branch->a)))
            return jinja_exec(run, branch->body);
        if (!jinja_run_ok(run))
            return JINJA_FLOW_ON;
    }
    return jinja_exec(run, node->other);
}

static void assign_tuple(struct jinja_run *run, const struct jinja_node *target,
                         struct jinja_value value)
{
    const struct jinja_list *list = jinja_to_list(run, value);
    size_t at = 0;
    for (const struct jinja_node *item = target->list; item != NULL && list != NULL;
         item = item->next, at++)
        if (at < list->num)
            jinja_exec_assign(run, item, list->items[at]);
    if (list != NULL && at != list->num)
        jinja_run_fail(run, -EINVAL, "%zu values cannot be unpacked into %zu names", list->num, at);
}

static void assign_attribute(struct jinja_run *run, const struct jinja_node *target,
                             struct jinja_value value)
{
    const struct jinja_value space = jinja_scope_get(run, target->name);
    if (space.type != JINJA_NAMESPACE)
        jinja_run_fail(run, -EINVAL, "an attribute can be set of a namespace only, not of %s",
                       jinja_type_name(space));
    else if (jinja_function_check_attribute(run, target->value))
        jinja_dict_set(run, space.of.dict, target->value, value);
}

void jinja_exec_assign(struct jinja_run *run, const struct jinja_node *target,
                       struct jinja_value value)
{
    if (!jinja_run_enter(run))
        return;
    if (target->kind == JINJA_TUPLE_NODE)
        assign_tuple(run, target, value);
    else if (target->kind == JINJA_NAMESPACE_TARGET)
        assign_attribute(run, target, value);
    else
        jinja_scope_set(run, run->scope, target->name, value);
    jinja_run_leave(run);
}

static enum jinja_flow exec_set(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value value = jinja_eval(run, node->a);
    if (jinja_run_ok(run))
        jinja_exec_assign(run, node->target, value);
    return JINJA_FLOW_ON;
}

/* The body's text in a scope of its own, through the chain of filters. */
static enum jinja_flow capture(struct jinja_run *run, const struct jinja_node *node,
                               struct jinja_value *ret_text)
{
    struct strbuf out = jinja_buffer(run), *outside = run->out;
    struct jinja_scope *scope = jinja_scope_push(run, run->scope, node->unset, node->num_unset);
    enum jinja_flow flow = JINJA_FLOW_ON;

    if (scope == NULL)
        return flow;
    run->scope = scope;
    run->out = &out;
    flow = jinja_exec(run, node->body);
    run->out = outside;
    *ret_text = jinja_string_take(run, &out);
    if (jinja_run_ok(run) && flow == JINJA_FLOW_ON)
        *ret_text = jinja_eval_chain(run, node->a, *ret_text);
    run->scope = scope->outer;
    return flow;
}

static enum jinja_flow exec_set_block(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value text = jinja_undefined(NULL);
    const enum jinja_flow flow = capture(run, node, &text);
    if (jinja_run_ok(run) && flow == JINJA_FLOW_ON)
        jinja_exec_assign(run, node->target, text);
    return flow;
}

static enum jinja_flow exec_filter_block(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value text = jinja_undefined(NULL);
    const enum jinja_flow flow = capture(run, node, &text);
    if (flow == JINJA_FLOW_ON)
        print_text(run, text);
    return flow;
}

static enum jinja_flow exec_scope(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_scope *scope = jinja_scope_push(run, run->scope, node->unset, node->num_unset);
    if (scope == NULL)
        return JINJA_FLOW_ON;
    run->scope = scope;
    const enum jinja_flow flow = jinja_exec(run, node->body);
    run->scope = scope->outer;
    return flow;
}

/* All values are those of outside: `b = a` does not see an `a` of the same tag. */
static enum jinja_flow exec_with(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_scope *scope = jinja_scope_push(run, run->scope, node->unset, node->num_unset);
    struct jinja_scope *outside = run->scope;

    for (const struct jinja_node *param = node->params; param != NULL && jinja_run_ok(run);
         param = param->next) {
        const struct jinja_value value = jinja_eval(run, param->a);
        run->scope = scope;
        if (jinja_run_ok(run))
            jinja_exec_assign(run, param->target, value);
        run->scope = outside;
    }
    if (!jinja_run_ok(run))
        return JINJA_FLOW_ON;
    run->scope = scope;
    const enum jinja_flow flow = jinja_exec(run, node->body);
    run->scope = outside;
    return flow;
}

static enum jinja_flow exec_macro(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_string *name = &run->template->names[node->name].string;
    jinja_scope_set(run, run->scope, node->name, jinja_macro_create(run, node, name));
    return JINJA_FLOW_ON;
}

static enum jinja_flow exec_call_block(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_keyword caller = {
        .name = &run->template->names[JINJA_NAME_CALLER].string,
        .value = jinja_macro_create(run, node, NULL),
    };
    const struct jinja_value callee = jinja_eval(run, node->a->a);
    const struct jinja_args args = jinja_eval_args(run, node->a->call, &caller);
    if (jinja_run_ok(run))
        print_text(run, jinja_eval_call(run, callee, &args));
    return JINJA_FLOW_ON;
}

static enum jinja_flow exec_break(struct jinja_run *run, const struct jinja_node *node)
{
    (void)run;
    return node->kind == JINJA_BREAK ? JINJA_FLOW_BREAK : JINJA_FLOW_CONTINUE;
}

/* The items that pass `for x in items if test`: the test has a scope with x and no loop. */
struct filtered {
    const struct jinja_node *node;
    struct jinja_scope *scope;
    struct jinja_cursor cursor;
};

static bool next_filtered(struct jinja_run *run, struct jinja_iterator *iterator,
                          struct jinja_value *ret_item)
{
    struct filtered *filtered = iterator->state;
    struct jinja_scope *inside = run->scope;
    bool passed = false;

    while (!passed && jinja_cursor_next(run, &filtered->cursor, ret_item)) {
        run->scope = filtered->scope;
        jinja_scope_reset(run, run->scope, NULL, 0);
        jinja_exec_assign(run, filtered->node->target, *ret_item);
        passed = jinja_run_ok(run) && jinja_truth(run, jinja_eval(run, filtered->node->b));
        run->scope = inside;
    }
    return passed && jinja_run_ok(run);
}

static struct jinja_value filter_items(struct jinja_run *run, const struct jinja_node *node,
                                       struct jinja_scope *outer, struct jinja_value over)
{
    struct jinja_iterator *iterator = jinja_run_alloc(run, 1, sizeof(*iterator));
    struct filtered *filtered = jinja_run_alloc(run, 1, sizeof(*filtered));
    if (node->b == NULL || iterator == NULL || filtered == NULL)
        return over;
    filtered->node = node;
    filtered->scope = jinja_scope_push(run, outer, NULL, 0);
    filtered->cursor = jinja_cursor(run, over);
    *iterator =
        (struct jinja_iterator){ .next = next_filtered, .name = "generator", .state = filtered };
    return (struct jinja_value){ .type = JINJA_ITERATOR, .of.iterator = iterator };
}

static enum jinja_flow exec_else(struct jinja_run *run, const struct jinja_node *node,
                                 struct jinja_scope *outer)
{
    struct jinja_scope *inside = run->scope;
    struct jinja_scope *scope = node->other == NULL ? NULL : jinja_scope_push(run, outer, NULL, 0);
    if (scope == NULL)
        return JINJA_FLOW_ON;
    run->scope = scope;
    const enum jinja_flow flow = jinja_exec(run, node->other);
    run->scope = inside;
    return flow;
}

/* `else` runs unless an iteration came to the end of the body: as jinja2 does, also where all
 * of them were cut short by continue or break. */
static enum jinja_flow run_loop(struct jinja_run *run, const struct jinja_node *node,
                                struct jinja_scope *outer, struct jinja_value over, int64_t depth0)
{
    struct jinja_scope *inside = run->scope;
    struct jinja_scope *scope = jinja_scope_push(run, outer, NULL, 0);
    struct jinja_loop *loop = jinja_loop_create(run, filter_items(run, node, outer, over));
    enum jinja_flow flow = JINJA_FLOW_ON;
    bool completed = false;
    struct jinja_value item;

    if (scope == NULL || loop == NULL)
        return flow;
    loop->node = node;
    loop->outer = outer;
    loop->depth0 = depth0;
    while (flow != JINJA_FLOW_BREAK && jinja_loop_next(run, loop, &item)) {
        run->scope = scope;
        jinja_scope_reset(run, scope, node->unset, node->num_unset);
        jinja_scope_set(run, scope, JINJA_NAME_LOOP,
                        (struct jinja_value){ .type = JINJA_LOOP, .of.loop = loop });
        jinja_exec_assign(run, node->target, item);
        flow = jinja_exec(run, node->body);
        completed = completed || flow == JINJA_FLOW_ON;
        run->scope = inside;
    }
    return completed || !jinja_run_ok(run) ? JINJA_FLOW_ON : exec_else(run, node, outer);
}

static enum jinja_flow exec_for(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value over = jinja_eval(run, node->a);
    return jinja_run_ok(run) ? run_loop(run, node, run->scope, over, 0) : JINJA_FLOW_ON;
}

struct jinja_value jinja_exec_recurse(struct jinja_run *run, const struct jinja_node *node,
                                      struct jinja_scope *outer, struct jinja_value over,
                                      int64_t depth0)
{
    struct strbuf out = jinja_buffer(run), *outside = run->out;
    if (run->macro_depth >= JINJA_MAX_MACRO_DEPTH) {
        jinja_run_fail(run, -E2BIG, "a loop recurses deeper than %d levels", JINJA_MAX_MACRO_DEPTH);
        return jinja_undefined(NULL);
    }
    run->macro_depth++;
    run->out = &out;
    run_loop(run, node, outer, over, depth0);
    run->out = outside;
    run->macro_depth--;
    return jinja_string_take(run, &out);
}

static enum jinja_flow exec_one(struct jinja_run *run, const struct jinja_node *node)
{
    static exec_fn *const rows[] = {
        [JINJA_TEXT] = exec_text,
        [JINJA_PRINT] = exec_print,
        [JINJA_IF] = exec_if,
        [JINJA_FOR] = exec_for,
        [JINJA_SET] = exec_set,
        [JINJA_SET_BLOCK] = exec_set_block,
        [JINJA_MACRO_NODE] = exec_macro,
        [JINJA_CALL_BLOCK] = exec_call_block,
        [JINJA_FILTER_BLOCK] = exec_filter_block,
        [JINJA_WITH] = exec_with,
        [JINJA_SCOPE] = exec_scope,
        [JINJA_BREAK] = exec_break,
        [JINJA_CONTINUE] = exec_break,
    };
    run->line = node->line;
    return rows[node->kind](run, node);
}

enum jinja_flow jinja_exec(struct jinja_run *run, const struct jinja_node *list)
{
    enum jinja_flow flow = JINJA_FLOW_ON;
    if (!jinja_run_enter(run))
        return flow;
    for (const struct jinja_node *node = list;
         node != NULL && flow == JINJA_FLOW_ON && jinja_run_charge(run, 0); node = node->next)
        flow = exec_one(run, node);
    jinja_run_leave(run);
    return flow;
}
