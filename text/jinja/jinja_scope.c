#include "text/jinja/jinja_scope.h"

#include "text/jinja/jinja_ast.h"

struct jinja_scope *jinja_scope_push(struct jinja_run *run, struct jinja_scope *outer,
                                     const uint32_t *unset, size_t num_unset)
{
    struct jinja_scope *scope = jinja_run_alloc(run, 1, sizeof(*scope));
    if (scope == NULL)
        return NULL;
    scope->outer = outer;
    jinja_scope_reset(run, scope, unset, num_unset);
    return scope;
}

void jinja_scope_reset(struct jinja_run *run, struct jinja_scope *scope, const uint32_t *unset,
                       size_t num_unset)
{
    scope->num = 0;
    for (size_t i = 0; i < num_unset && jinja_run_ok(run); i++)
        jinja_scope_set(run, scope, unset[i], jinja_missing());
}

static struct jinja_binding *find(struct jinja_run *run, const struct jinja_scope *scope,
                                  uint32_t name)
{
    jinja_run_charge(run, scope->num);
    for (size_t i = 0; i < scope->num; i++)
        if (scope->bindings[i].name == name)
            return &scope->bindings[i];
    return NULL;
}

void jinja_scope_set(struct jinja_run *run, struct jinja_scope *scope, uint32_t name,
                     struct jinja_value value)
{
    struct jinja_binding *binding = find(run, scope, name);
    if (binding != NULL) {
        binding->value = value;
        return;
    }
    struct jinja_binding *bindings =
        jinja_run_grow(run, scope->bindings, scope->num, &scope->cap, sizeof(*bindings));
    if (bindings == NULL)
        return;
    scope->bindings = bindings;
    bindings[scope->num++] = (struct jinja_binding){ name, value };
}

struct jinja_value jinja_scope_get(struct jinja_run *run, uint32_t name)
{
    struct jinja_value value = jinja_missing();
    const struct jinja_binding *binding = NULL;

    for (const struct jinja_scope *scope = run->scope; scope != NULL && binding == NULL;
         scope = scope->outer)
        binding = find(run, scope, name);
    value = binding != NULL ? binding->value : run->globals[name];
    if (value.type != JINJA_MISSING)
        return value;
    return jinja_undefined(&run->template->names[name].string);
}
