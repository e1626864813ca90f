#include "text/jinja/jinja_eval.h"

#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_filters.h"
#include "text/jinja/jinja_functions.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_loop.h"
#include "text/jinja/jinja_math.h"
#include "text/jinja/jinja_methods.h"
#include "text/jinja/jinja_tests.h"

typedef struct jinja_value eval_fn(struct jinja_run *run, const struct jinja_node *node);

static struct jinja_value eval_const(struct jinja_run *run, const struct jinja_node *node)
{
    (void)run;
    return node->value;
}

static struct jinja_value eval_name(struct jinja_run *run, const struct jinja_node *node)
{
    return jinja_scope_get(run, node->name);
}

static struct jinja_value eval_list(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_list *list = jinja_list_create(run);
    for (const struct jinja_node *item = node->list; item != NULL && jinja_run_ok(run);
         item = item->next)
        jinja_list_push(run, list, jinja_eval(run, item));
    return jinja_list_value(list, node->kind == JINJA_TUPLE_NODE ? JINJA_TUPLE : JINJA_LIST);
}

static struct jinja_value eval_dict(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_dict *dict = jinja_dict_create(run);
    for (const struct jinja_node *pair = node->list; pair != NULL && jinja_run_ok(run);
         pair = pair->next) {
        const struct jinja_value key = jinja_eval(run, pair->a);
        const struct jinja_value value = jinja_eval(run, pair->b);
        jinja_dict_set(run, dict, key, value);
    }
    return jinja_dict_value(dict);
}

static struct jinja_value eval_unary(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value a = jinja_eval(run, node->a);
    return jinja_run_ok(run) ? jinja_math_unary(run, node->op, a) : a;
}

static struct jinja_value eval_binary(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value a = jinja_eval(run, node->a);
    if (node->op == JINJA_OP_AND || node->op == JINJA_OP_OR)
        return jinja_truth(run, a) == (node->op == JINJA_OP_OR) ? a : jinja_eval(run, node->b);
    const struct jinja_value b = jinja_eval(run, node->b);
    return jinja_math_binary(run, node->op, a, b);
}

/* a < b < c asks for both, and evaluates b once. */
static struct jinja_value eval_compare(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value left = jinja_eval(run, node->a);
    for (const struct jinja_node *operand = node->list; operand != NULL; operand = operand->next) {
        const struct jinja_value right = jinja_eval(run, operand->a);
        if (!jinja_run_ok(run) || !jinja_math_compare(run, operand->op, left, right))
            return jinja_bool(false);
        left = right;
    }
    return jinja_bool(true);
}

static struct jinja_value eval_cond(struct jinja_run *run, const struct jinja_node *node)
{
    if (jinja_truth(run, jinja_eval(run, node->a)))
        return jinja_eval(run, node->b);
    return node->c == NULL ? jinja_undefined(NULL) : jinja_eval(run, node->c);
}

static struct jinja_value eval_attribute(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value of = jinja_eval(run, node->a);
    return jinja_run_ok(run) ? jinja_lookup_attribute(run, of, node->value.of.string) : of;
}

static struct jinja_value eval_item(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value of = jinja_eval(run, node->a);
    const struct jinja_value key = jinja_eval(run, node->b);
    return jinja_run_ok(run) ? jinja_lookup_subscript(run, of, key) : of;
}

static struct jinja_value eval_slice(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_node *parts[3] = { node->b->a, node->b->b, node->b->c };
    struct jinja_value bounds[3];
    const struct jinja_value of = jinja_eval(run, node->a);

    for (int i = 0; i < 3; i++)
        bounds[i] = parts[i] == NULL ? jinja_none() : jinja_eval(run, parts[i]);
    if (of.type == JINJA_UNDEFINED)
        jinja_lookup_fail_undefined(run, of);
    if (!jinja_run_ok(run))
        return of;
    const struct jinja_value part = jinja_slice(run, of, bounds);
    if (part.type != JINJA_MISSING)
        return part;
    jinja_run_fail(run, -EINVAL, "a %s cannot be sliced so", jinja_type_name(of));
    return jinja_undefined(NULL);
}

static size_t count_star(struct jinja_run *run, const struct jinja_node *star,
                         struct jinja_value *ret_value)
{
    if (star == NULL)
        return 0;
    *ret_value = jinja_eval(run, star);
    const struct jinja_list *list = jinja_run_ok(run) ? jinja_to_list(run, *ret_value) : NULL;
    if (list == NULL)
        return 0;
    *ret_value = jinja_list_value((struct jinja_list *)list, JINJA_LIST);
    return list->num;
}

static void add_keyword(struct jinja_run *run, struct jinja_args *args, struct jinja_string *name,
                        struct jinja_value value)
{
    for (size_t i = 0; i < args->num_keywords && jinja_run_charge(run, 0); i++)
        if (args->keywords[i].name->len == name->len &&
            memcmp(args->keywords[i].name->data, name->data, name->len) == 0)
            jinja_run_fail(run, -EINVAL, "an argument is given by name twice");
    args->keywords[args->num_keywords++] = (struct jinja_keyword){ name, value };
}

static void add_star_star(struct jinja_run *run, struct jinja_args *args,
                          const struct jinja_dict *dict)
{
    for (size_t i = 0; i < dict->num && jinja_run_ok(run); i++)
        if (dict->entries[i].key.type == JINJA_STRING)
            add_keyword(run, args, dict->entries[i].key.of.string, dict->entries[i].value);
        else
            jinja_run_fail(run, -EINVAL, "names of arguments are strings");
}

struct jinja_args jinja_eval_args(struct jinja_run *run, const struct jinja_call *call,
                                  const struct jinja_keyword *extra)
{
    struct jinja_args args = { 0 };
    struct jinja_value star = jinja_undefined(NULL), star_star = star;

    if (call->num_args == 0 && call->num_keywords == 0 && extra == NULL && call->star == NULL &&
        call->star_star == NULL)
        return args;
    struct jinja_value *fixed = jinja_run_alloc(run, call->num_args, sizeof(*fixed));
    for (const struct jinja_node *arg = call->args; arg != NULL && jinja_run_ok(run);
         arg = arg->next)
        fixed[args.num++] = jinja_eval(run, arg);
    args.args = fixed;
    const size_t num_star = count_star(run, call->star, &star);
    struct jinja_value *named = jinja_run_alloc(run, call->num_keywords, sizeof(*named));
    size_t num_named = 0;
    for (const struct jinja_node *arg = call->keywords; arg != NULL && jinja_run_ok(run);
         arg = arg->next)
        named[num_named++] = jinja_eval(run, arg->a);
    if (call->star_star != NULL)
        star_star = jinja_eval(run, call->star_star);
    if (call->star_star != NULL && star_star.type != JINJA_DICT)
        jinja_run_fail(run, -EINVAL, "behind ** a dict is wanted, not %s",
                       jinja_type_name(star_star));
    const size_t num_spread = star_star.type == JINJA_DICT ? star_star.of.dict->num : 0;
    if (num_star > 0)
        args.args = jinja_run_alloc(run, args.num + num_star, sizeof(*args.args));
    args.keywords =
        jinja_run_alloc(run, call->num_keywords + num_spread + 1, sizeof(*args.keywords));
    if (!jinja_run_ok(run))
        return (struct jinja_args){ 0 };

    for (size_t i = 0; i < args.num; i++)
        args.args[i] = fixed[i];
    for (size_t i = 0; i < num_star; i++)
        args.args[args.num++] = star.of.list->items[i];
    num_named = 0;
    for (const struct jinja_node *arg = call->keywords; arg != NULL; arg = arg->next)
        add_keyword(run, &args, arg->value.of.string, named[num_named++]);
    if (num_spread > 0)
        add_star_star(run, &args, star_star.of.dict);
    if (extra != NULL && jinja_run_ok(run))
        add_keyword(run, &args, extra->name, extra->value);
    return args;
}

static struct jinja_value call_loop(struct jinja_run *run, const struct jinja_loop *loop,
                                    const struct jinja_args *args)
{
    if (!loop->node->flag || args->num != 1 || args->num_keywords > 0) {
        jinja_run_fail(run, -EINVAL, "loop is called with one argument, in a recursive loop");
        return jinja_undefined(NULL);
    }
    return jinja_exec_recurse(run, loop->node, loop->outer, args->args[0], loop->depth0 + 1);
}

static struct jinja_value call_joiner(struct jinja_run *run, struct jinja_joiner *joiner,
                                      const struct jinja_args *args)
{
    if (args->num > 0 || args->num_keywords > 0)
        jinja_run_fail(run, -EINVAL, "a joiner takes no arguments");
    const bool used = joiner->used;
    joiner->used = true;
    return used ? joiner->separator : jinja_string_over(run, "", 0);
}

struct jinja_value jinja_eval_call(struct jinja_run *run, struct jinja_value callee,
                                   const struct jinja_args *args)
{
    switch (callee.type) {
    case JINJA_MACRO:
        return jinja_macro_call(run, callee.of.macro, args);
    case JINJA_METHOD:
        return jinja_method_call(run, callee.of.bound, args);
    case JINJA_FUNCTION:
        return callee.of.function->call(run, args);
    case JINJA_LOOP:
        return call_loop(run, callee.of.loop, args);
    case JINJA_JOINER:
        return call_joiner(run, callee.of.joiner, args);
    case JINJA_UNDEFINED:
        jinja_lookup_fail_undefined(run, callee);
        break;
    default:
        jinja_run_fail(run, -EINVAL, "a %s cannot be called", jinja_type_name(callee));
        break;
    }
    return jinja_undefined(NULL);
}

static struct jinja_value eval_call(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value callee = jinja_eval(run, node->a);
    const struct jinja_args args = jinja_eval_args(run, node->call, NULL);
    return jinja_run_ok(run) ? jinja_eval_call(run, callee, &args) : callee;
}

static struct jinja_value apply_filter(struct jinja_run *run, const struct jinja_node *node,
                                       struct jinja_value input)
{
    const struct jinja_string *name = node->value.of.string;
    if (node->filter == NULL)
        jinja_run_fail(run, -EINVAL, "there is no filter '%.*s'",
                       (int)(name->len > 60 ? 60 : name->len), name->data);
    const struct jinja_args args = jinja_eval_args(run, node->call, NULL);
    return jinja_run_ok(run) ? jinja_filter_apply(run, node->filter, input, &args) : input;
}

static struct jinja_value eval_filter(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_value input = jinja_eval(run, node->a);
    return jinja_run_ok(run) ? apply_filter(run, node, input) : input;
}

struct jinja_value jinja_eval_chain(struct jinja_run *run, const struct jinja_node *node,
                                    struct jinja_value input)
{
    if (node->kind == JINJA_BLOCK_VALUE || !jinja_run_enter(run))
        return input;
    input = jinja_eval_chain(run, node->a, input);
    input = apply_filter(run, node, input);
    jinja_run_leave(run);
    return input;
}

static struct jinja_value eval_test(struct jinja_run *run, const struct jinja_node *node)
{
    const struct jinja_string *name = node->value.of.string;
    const struct jinja_value value = jinja_eval(run, node->a);
    if (node->test == NULL)
        jinja_run_fail(run, -EINVAL, "there is no test '%.*s'",
                       (int)(name->len > 60 ? 60 : name->len), name->data);
    const struct jinja_args args = jinja_eval_args(run, node->call, NULL);
    if (!jinja_run_ok(run))
        return value;
    return jinja_bool(jinja_test_apply(run, node->test, value, &args) != node->flag);
}

struct jinja_value jinja_eval(struct jinja_run *run, const struct jinja_node *node)
{
    static eval_fn *const rows[] = {
        [JINJA_CONST] = eval_const,     [JINJA_NAME] = eval_name,
        [JINJA_TUPLE_NODE] = eval_list, [JINJA_LIST_NODE] = eval_list,
        [JINJA_DICT_NODE] = eval_dict,  [JINJA_UNARY] = eval_unary,
        [JINJA_BINARY] = eval_binary,   [JINJA_COMPARE] = eval_compare,
        [JINJA_COND] = eval_cond,       [JINJA_ATTRIBUTE] = eval_attribute,
        [JINJA_ITEM] = eval_item,       [JINJA_SLICE_ITEM] = eval_slice,
        [JINJA_CALL] = eval_call,       [JINJA_FILTER] = eval_filter,
        [JINJA_TEST] = eval_test,
    };
    if (!jinja_run_enter(run))
        return jinja_undefined(NULL);
    run->line = node->line;
    struct jinja_value value = rows[node->kind](run, node);
    jinja_run_leave(run);
    return jinja_run_ok(run) ? value : jinja_undefined(NULL);
}
