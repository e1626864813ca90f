#include "text/chat_template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_ast.h"
#include "text/jinja/jinja_eval.h"
#include "text/jinja/jinja_functions.h"
#include "text/jinja/jinja_lexer.h"
#include "text/jinja/jinja_parser.h"
#include "text/jinja/jinja_parts.h"
#include "text/jinja/jinja_unset.h"

struct chat_template {
    struct jinja_template jinja;
    bool wants_parts;
};

static int check_source(const char *source, size_t len, struct error *err)
{
    if (len > JINJA_MAX_SOURCE)
        return error_set(err, -EINVAL, "chat template: %zu bytes, at most %d are read", len,
                         JINJA_MAX_SOURCE);
    const size_t valid = utf8_valid_prefix(source, len);
    if (valid != len)
        return error_set(err, -EINVAL, "chat template: not valid UTF-8 at byte %zu", valid);
    return 0;
}

int chat_template_create(const char *source, size_t len, struct chat_template **ret_template,
                         struct error *err)
{
    struct jinja_tokens tokens;
    int r = check_source(source, len, err);
    if (r < 0)
        return r;
    struct chat_template *template = calloc(1, sizeof(*template));
    if (template == NULL)
        return error_set(err, -ENOMEM, "no memory for a chat template");
    arena_init(&template->jinja.arena, JINJA_MAX_MEMORY);

    r = jinja_lexer_run(&template->jinja.arena, source, len, &tokens, err);
    if (r == 0)
        r = jinja_parser_run(&tokens, &template->jinja, err);
    if (r == 0)
        r = jinja_unset_find(&template->jinja, err);
    if (r < 0) {
        chat_template_destroy(template);
        return r;
    }
    template->wants_parts = jinja_parts_wanted(&template->jinja);
    *ret_template = template;
    return 0;
}

void chat_template_destroy(struct chat_template *template)
{
    if (template == NULL)
        return;
    arena_finish(&template->jinja.arena);
    free(template);
}

/* What each name of the template means outside of all scopes. */
static void fill_globals(struct jinja_run *run, const json_t *context)
{
    const struct jinja_template *template = run->template;
    run->globals = jinja_run_alloc(run, template->num_names, sizeof(*run->globals));
    for (size_t i = 0; i < template->num_names && jinja_run_ok(run); i++) {
        const struct jinja_string *name = &template->names[i].string;
        const json_t *given = json_object_getn(context, name->data, name->len);
        const struct jinja_function *function = jinja_function_find(name->data, name->len);
        if (given != NULL)
            run->globals[i] = jinja_from_json(run, given, false);
        else if (function != NULL)
            run->globals[i] =
                (struct jinja_value){ .type = JINJA_FUNCTION, .of.function = function };
        else
            run->globals[i] = jinja_missing();
    }
}

static void render(struct jinja_run *run, const json_t *context)
{
    fill_globals(run, context);
    if (!jinja_run_ok(run))
        return;
    run->max_output += 4 * run->input_bytes;
    run->out->limit = run->max_output;
    run->scope = jinja_scope_push(run, NULL, run->template->unset, run->template->num_unset);
    if (run->scope != NULL)
        jinja_exec(run, run->template->body);
}

int chat_template_render(const struct chat_template *template, const json_t *context,
                         int64_t wall_us, struct strbuf *out, struct error *err)
{
    struct strbuf text = { 0 };
    struct jinja_run run = { .steps_left = JINJA_MAX_STEPS,
                             .err = err,
                             .wall_us = wall_us,
                             .out = &text,
                             .template = &template->jinja,
                             .max_output = JINJA_MAX_OUTPUT };

    if (!json_is_object(context))
        return error_set(err, -EINVAL, "chat template: the variables are not a JSON object");
    run.seed = (uint64_t)(uintptr_t)&run ^ (uint64_t)(uintptr_t)context * 0x9e3779b97f4a7c15u;
    arena_init(&run.arena, JINJA_MAX_MEMORY);
    render(&run, context);
    arena_finish(&run.arena);

    const bool had_failed = out->failed;
    if (run.status == 0 && strbuf_reserve(out, text.len))
        strbuf_append(out, text.data, text.len);
    else if (run.status == 0) {
        out->failed = had_failed;
        run.status = error_set(err, -ENOMEM, "no memory for %zu bytes of prompt", text.len);
    }
    strbuf_finish(&text);
    return run.status;
}

bool chat_template_wants_parts(const struct chat_template *template)
{
    return template->wants_parts;
}

bool chat_template_uses(const struct chat_template *template, const char *name)
{
    const size_t len = strlen(name);
    for (size_t i = 0; i < template->jinja.num_names; i++) {
        const struct jinja_name *row = &template->jinja.names[i];
        if (row->is_read && row->string.len == len && memcmp(row->string.data, name, len) == 0)
            return true;
    }
    return false;
}
