#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"
#include "text/jinja/jinja_functions.h"

struct jinja_value jinja_macro_create(struct jinja_run *run, const struct jinja_node *node,
                                      struct jinja_string *name)
{
    struct jinja_macro *macro = jinja_run_alloc(run, 1, sizeof(*macro));
    if (macro == NULL)
        return jinja_undefined(NULL);
    *macro = (struct jinja_macro){ .node = node, .scope = run->scope, .name = name };
    return (struct jinja_value){ .type = JINJA_MACRO, .of.macro = macro };
}

/* The keyword called `name`, taken out of the arguments, or MISSING. */
static struct jinja_value take_keyword(struct jinja_args *args, const struct jinja_string *name)
{
    for (size_t i = 0; i < args->num_keywords; i++) {
        const struct jinja_keyword found = args->keywords[i];
        if (found.name->len != name->len || memcmp(found.name->data, name->data, name->len) != 0)
            continue;
        memmove(&args->keywords[i], &args->keywords[i + 1],
                (--args->num_keywords - i) * sizeof(*args->keywords));
        return found.value;
    }
    return jinja_missing();
}

static const struct jinja_string *name_of(const struct jinja_run *run, uint32_t name)
{
    return &run->template->names[name].string;
}

/* Parameters by position, then by name; the others wait as MISSING for their defaults. */
static size_t bind_params(struct jinja_run *run, const struct jinja_node *node,
                          struct jinja_args *args, bool *ret_caller)
{
    size_t num = 0;
    for (const struct jinja_node *param = node->params; param != NULL; param = param->next) {
        const bool given = num < args->num;
        *ret_caller = *ret_caller || param->name == JINJA_NAME_CALLER;
        jinja_run_charge(run, args->num_keywords * 16);
        jinja_scope_set(run, run->scope, param->name,
                        given ? args->args[num] : take_keyword(args, name_of(run, param->name)));
        num += given;
    }
    return num;
}

static bool has_param(const struct jinja_node *node, uint32_t name)
{
    for (const struct jinja_node *param = node->params; param != NULL; param = param->next)
        if (param->name == name)
            return true;
    return false;
}

static void bind_kwargs(struct jinja_run *run, const struct jinja_node *node,
                        const struct jinja_args *args)
{
    const bool wanted =
        (node->specials & JINJA_SPECIAL_KWARGS) && !has_param(node, JINJA_NAME_KWARGS);
    if (!wanted && args->num_keywords > 0)
        jinja_run_fail(run, -EINVAL, "a macro takes no argument '%.*s'",
                       (int)(args->keywords[0].name->len > 60 ? 60 : args->keywords[0].name->len),
                       args->keywords[0].name->data);
    if (!wanted)
        return;
    struct jinja_dict *dict = jinja_dict_create(run);
    for (size_t i = 0; i < args->num_keywords && jinja_run_ok(run); i++)
        jinja_dict_set(
            run, dict,
            (struct jinja_value){ .type = JINJA_STRING, .of.string = args->keywords[i].name },
            args->keywords[i].value);
    jinja_scope_set(run, run->scope, JINJA_NAME_KWARGS, jinja_dict_value(dict));
}

static void bind_varargs(struct jinja_run *run, const struct jinja_node *node,
                         const struct jinja_args *args, size_t num_used)
{
    const bool wanted =
        (node->specials & JINJA_SPECIAL_VARARGS) && !has_param(node, JINJA_NAME_VARARGS);
    if (!wanted && args->num > num_used)
        jinja_run_fail(run, -EINVAL, "a macro takes at most %zu arguments, not %zu", num_used,
                       args->num);
    if (!wanted)
        return;
    struct jinja_list *list = jinja_list_create(run);
    for (size_t i = num_used; i < args->num && jinja_run_ok(run); i++)
        jinja_list_push(run, list, args->args[i]);
    jinja_scope_set(run, run->scope, JINJA_NAME_VARARGS, jinja_list_value(list, JINJA_TUPLE));
}

static void bind_caller(struct jinja_run *run, const struct jinja_node *node,
                        struct jinja_args *args, bool is_param)
{
    if ((node->specials & JINJA_SPECIAL_CALLER) == 0 || is_param)
        return;
    struct jinja_value caller = take_keyword(args, name_of(run, JINJA_NAME_CALLER));
    if (caller.type == JINJA_MISSING || caller.type == JINJA_NONE)
        caller = jinja_undefined(NULL);
    jinja_scope_set(run, run->scope, JINJA_NAME_CALLER, caller);
}

static void bind_defaults(struct jinja_run *run, const struct jinja_node *node)
{
    for (const struct jinja_node *param = node->params; param != NULL && jinja_run_ok(run);
         param = param->next) {
        const struct jinja_scope *scope = run->scope;
        struct jinja_value value = jinja_missing();
        for (size_t i = 0; i < scope->num; i++)
            if (scope->bindings[i].name == param->name)
                value = scope->bindings[i].value;
        if (value.type != JINJA_MISSING)
            continue;
        value = param->a == NULL ? jinja_undefined(&run->template->names[param->name].string)
                                 : jinja_eval(run, param->a);
        jinja_scope_set(run, run->scope, param->name, value);
    }
}

static struct jinja_value run_body(struct jinja_run *run, const struct jinja_node *node,
                                   const struct jinja_args *given)
{
    struct jinja_args args = *given;
    struct strbuf out = jinja_buffer(run), *outside = run->out;
    bool caller_is_param = false;

    args.keywords = jinja_run_alloc(run, given->num_keywords, sizeof(*args.keywords));
    if (args.keywords == NULL)
        return jinja_undefined(NULL);
    for (size_t i = 0; i < given->num_keywords; i++)
        args.keywords[i] = given->keywords[i];
    const size_t num_used = bind_params(run, node, &args, &caller_is_param);
    bind_caller(run, node, &args, caller_is_param);
    bind_kwargs(run, node, &args);
    bind_varargs(run, node, &args, num_used);
    run->out = &out;
    bind_defaults(run, node);
    jinja_exec(run, node->body);
    run->out = outside;
    return jinja_string_take(run, &out);
}

struct jinja_value jinja_macro_call(struct jinja_run *run, const struct jinja_macro *macro,
                                    const struct jinja_args *args)
{
    const struct jinja_node *node = macro->node;
    struct jinja_scope *outside = run->scope;
    struct jinja_value text = jinja_undefined(NULL);

    if (run->macro_depth >= JINJA_MAX_MACRO_DEPTH)
        jinja_run_fail(run, -E2BIG, "more than %d macros inside each other", JINJA_MAX_MACRO_DEPTH);
    struct jinja_scope *scope = jinja_scope_push(run, macro->scope, node->unset, node->num_unset);
    if (scope == NULL)
        return text;
    run->macro_depth++;
    run->scope = scope;
    text = run_body(run, node, args);
    run->scope = outside;
    run->macro_depth--;
    return text;
}
