#include "text/jinja/jinja_loop.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "text/jinja/jinja_methods.h"

struct jinja_loop *jinja_loop_create(struct jinja_run *run, struct jinja_value over)
{
    struct jinja_loop *loop = jinja_run_alloc(run, 1, sizeof(*loop));
    if (loop == NULL)
        return NULL;
    *loop = (struct jinja_loop){ .cursor = jinja_cursor(run, over),
                                 .index0 = -1,
                                 .length = jinja_length(over),
                                 .before = jinja_missing(),
                                 .current = jinja_missing(),
                                 .after = jinja_missing(),
                                 .changed = jinja_missing() };
    return loop;
}

bool jinja_loop_next(struct jinja_run *run, struct jinja_loop *loop, struct jinja_value *ret_item)
{
    struct jinja_value item = loop->after;
    if (item.type == JINJA_MISSING && !jinja_cursor_next(run, &loop->cursor, &item))
        return false;
    loop->after = jinja_missing();
    loop->index0++;
    loop->before = loop->current;
    loop->current = item;
    *ret_item = item;
    return jinja_run_ok(run);
}

static struct jinja_value peek(struct jinja_run *run, struct jinja_loop *loop)
{
    struct jinja_value item;
    if (loop->after.type == JINJA_MISSING && jinja_cursor_next(run, &loop->cursor, &item))
        loop->after = item;
    return loop->after;
}

/* An iterator has to be read to its end to know its length; what was read is kept. */
static int64_t length(struct jinja_run *run, struct jinja_loop *loop)
{
    if (loop->length >= 0)
        return loop->length;
    struct jinja_list *rest = jinja_to_list(run, loop->cursor.over);
    if (rest == NULL)
        return 0;
    loop->cursor = jinja_cursor(run, jinja_list_value(rest, JINJA_LIST));
    loop->length = (int64_t)rest->num + loop->index0 + 1 + (loop->after.type != JINJA_MISSING);
    return loop->length;
}

static struct jinja_value get_index(struct jinja_run *run, struct jinja_loop *loop)
{
    (void)run;
    return jinja_int(loop->index0 + 1);
}

static struct jinja_value get_index0(struct jinja_run *run, struct jinja_loop *loop)
{
    (void)run;
    return jinja_int(loop->index0);
}

static struct jinja_value get_first(struct jinja_run *run, struct jinja_loop *loop)
{
    (void)run;
    return jinja_bool(loop->index0 == 0);
}

static struct jinja_value get_last(struct jinja_run *run, struct jinja_loop *loop)
{
    return jinja_bool(peek(run, loop).type == JINJA_MISSING);
}

static struct jinja_value get_length(struct jinja_run *run, struct jinja_loop *loop)
{
    return jinja_int(length(run, loop));
}

static struct jinja_value get_revindex(struct jinja_run *run, struct jinja_loop *loop)
{
    return jinja_int(length(run, loop) - loop->index0);
}

static struct jinja_value get_revindex0(struct jinja_run *run, struct jinja_loop *loop)
{
    return jinja_int(length(run, loop) - loop->index0 - 1);
}

static struct jinja_value get_depth(struct jinja_run *run, struct jinja_loop *loop)
{
    (void)run;
    return jinja_int(loop->depth0 + 1);
}

static struct jinja_value get_depth0(struct jinja_run *run, struct jinja_loop *loop)
{
    (void)run;
    return jinja_int(loop->depth0);
}

static struct jinja_value get_previtem(struct jinja_run *run, struct jinja_loop *loop)
{
    (void)run;
    return loop->index0 == 0 ? jinja_undefined(NULL) : loop->before;
}

static struct jinja_value get_nextitem(struct jinja_run *run, struct jinja_loop *loop)
{
    const struct jinja_value next = peek(run, loop);
    return next.type == JINJA_MISSING ? jinja_undefined(NULL) : next;
}

struct jinja_value jinja_loop_attribute(struct jinja_run *run, struct jinja_loop *loop,
                                        const struct jinja_string *name)
{
    static const struct {
        const char *name;
        struct jinja_value (*get)(struct jinja_run *run, struct jinja_loop *loop);
    } rows[] = {
        { "index", get_index },         { "index0", get_index0 },     { "first", get_first },
        { "last", get_last },           { "length", get_length },     { "revindex", get_revindex },
        { "revindex0", get_revindex0 }, { "depth", get_depth },       { "depth0", get_depth0 },
        { "previtem", get_previtem },   { "nextitem", get_nextitem },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strlen(rows[i].name) == name->len && memcmp(rows[i].name, name->data, name->len) == 0)
            return rows[i].get(run, loop);
    return jinja_method_of(run, (struct jinja_value){ .type = JINJA_LOOP, .of.loop = loop }, name);
}

struct jinja_value jinja_loop_cycle(struct jinja_run *run, const struct jinja_loop *loop,
                                    const struct jinja_args *args)
{
    if (args->num > 0 && args->num_keywords == 0)
        return args->args[loop->index0 % (int64_t)args->num];
    jinja_run_fail(run, -EINVAL, "loop.cycle wants items");
    return jinja_undefined(NULL);
}

bool jinja_loop_changed(struct jinja_run *run, struct jinja_loop *loop,
                        const struct jinja_args *args)
{
    struct jinja_list *list = jinja_list_create(run);
    for (size_t i = 0; i < args->num; i++)
        jinja_list_push(run, list, args->args[i]);
    const struct jinja_value now = jinja_list_value(list, JINJA_TUPLE);
    if (args->num_keywords > 0)
        jinja_run_fail(run, -EINVAL, "loop.changed takes no arguments by name");
    if (!jinja_run_ok(run) ||
        (loop->changed.type != JINJA_MISSING && jinja_equal(run, loop->changed, now)))
        return false;
    loop->changed = now;
    return true;
}

void jinja_loop_print(struct jinja_run *run, struct strbuf *out, struct jinja_loop *loop)
{
    strbuf_printf(out, "<LoopContext %" PRId64 "/%" PRId64 ">", loop->index0 + 1,
                  length(run, loop));
}
