#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_filters.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_tests.h"

/* map, select, reject, selectattr, rejectattr: item by item, when somebody reads. As in Python
 * not even the arguments are looked at before. */
struct lazy {
    struct jinja_value in;
    struct jinja_args args;
    bool is_map, by_attribute, wanted; /* wanted: result of the test that lets an item through */
    bool ready;                        /* what follows is filled in */
    struct jinja_cursor cursor;
    struct jinja_value path, otherwise; /* of an attribute; MISSING: the item itself */
    const struct jinja_filter *filter;  /* of map */
    const struct jinja_test *test;      /* of the others; NULL: truth */
};

static bool name_is(const struct jinja_keyword *keyword, const char *name)
{
    return keyword->name->len == strlen(name) &&
           memcmp(keyword->name->data, name, keyword->name->len) == 0;
}

/* map(attribute=..., default=...) */
static void take_attribute(struct jinja_run *run, struct lazy *lazy)
{
    for (size_t i = 0; i < lazy->args.num_keywords; i++) {
        const struct jinja_keyword *keyword = &lazy->args.keywords[i];
        if (name_is(keyword, "attribute"))
            lazy->path = keyword->value;
        else if (name_is(keyword, "default"))
            lazy->otherwise = keyword->value;
        else
            jinja_run_fail(run, -EINVAL, "map takes 'attribute' and 'default' by name");
    }
    if (lazy->path.type == JINJA_MISSING)
        jinja_run_fail(run, -EINVAL, "map wants a filter or an attribute");
}

static struct jinja_value take_first(struct lazy *lazy)
{
    lazy->args.num--;
    return *lazy->args.args++;
}

static void prepare_map(struct jinja_run *run, struct lazy *lazy)
{
    if (lazy->args.num == 0) {
        take_attribute(run, lazy);
        return;
    }
    const struct jinja_value name = take_first(lazy);
    if (name.type == JINJA_STRING)
        lazy->filter = jinja_filter_find(name.of.string->data, name.of.string->len);
    if (lazy->filter == NULL)
        jinja_run_fail(run, -EINVAL, "map wants the name of a filter");
}

static void prepare_select(struct jinja_run *run, struct lazy *lazy)
{
    if (lazy->by_attribute && lazy->args.num == 0) {
        jinja_run_fail(run, -EINVAL, "the name of an attribute is wanted");
        return;
    }
    if (lazy->by_attribute)
        lazy->path = take_first(lazy);
    if (lazy->args.num == 0)
        return;
    const struct jinja_value name = take_first(lazy);
    if (name.type == JINJA_STRING)
        lazy->test = jinja_test_find(name.of.string->data, name.of.string->len);
    if (lazy->test == NULL)
        jinja_run_fail(run, -EINVAL, "the name of a test is wanted");
}

/* Nothing comes of what is false, even if it could not be iterated. */
static bool prepare(struct jinja_run *run, struct lazy *lazy)
{
    if (lazy->ready)
        return jinja_run_ok(run);
    lazy->ready = true;
    lazy->path = lazy->otherwise = jinja_missing();
    if (!jinja_truth(run, lazy->in)) {
        lazy->cursor = jinja_cursor(run, jinja_undefined(NULL));
        return jinja_run_ok(run);
    }
    if (lazy->is_map)
        prepare_map(run, lazy);
    else
        prepare_select(run, lazy);
    if (jinja_run_ok(run))
        lazy->cursor = jinja_cursor(run, lazy->in);
    return jinja_run_ok(run);
}

static bool next_mapped(struct jinja_run *run, struct jinja_iterator *iterator,
                        struct jinja_value *ret_item)
{
    struct lazy *lazy = iterator->state;
    struct jinja_value item;
    if (!prepare(run, lazy) || !jinja_cursor_next(run, &lazy->cursor, &item))
        return false;
    if (lazy->filter != NULL)
        *ret_item = jinja_filter_apply(run, lazy->filter, item, &lazy->args);
    else
        *ret_item = jinja_lookup_path(run, item, lazy->path, lazy->otherwise);
    return jinja_run_ok(run);
}

static bool next_selected(struct jinja_run *run, struct jinja_iterator *iterator,
                          struct jinja_value *ret_item)
{
    struct lazy *lazy = iterator->state;
    struct jinja_value item;
    while (prepare(run, lazy) && jinja_cursor_next(run, &lazy->cursor, &item)) {
        const struct jinja_value value = jinja_lookup_path(run, item, lazy->path, jinja_missing());
        if (!jinja_run_ok(run))
            return false;
        const bool passed = lazy->test == NULL
                                ? jinja_truth(run, value)
                                : jinja_test_apply(run, lazy->test, value, &lazy->args);
        if (passed != lazy->wanted)
            continue;
        *ret_item = item;
        return jinja_run_ok(run);
    }
    return false;
}

static struct jinja_value make(struct jinja_run *run, const struct lazy *filled)
{
    struct jinja_iterator *iterator = jinja_run_alloc(run, 1, sizeof(*iterator));
    struct lazy *lazy = jinja_run_alloc(run, 1, sizeof(*lazy));
    if (iterator == NULL || lazy == NULL)
        return jinja_undefined(NULL);
    *lazy = *filled;
    *iterator =
        (struct jinja_iterator){ .next = filled->is_map ? next_mapped : next_selected,
                                 .name = filled->is_map ? "generator object sync_do_map"
                                                        : "generator object select_or_reject",
                                 .state = lazy };
    return (struct jinja_value){ .type = JINJA_ITERATOR, .of.iterator = iterator };
}

struct jinja_value jinja_lazy_map(struct jinja_run *run, struct jinja_value in,
                                  const struct jinja_args *args)
{
    return make(run, &(struct lazy){ .in = in, .args = *args, .is_map = true });
}

struct jinja_value jinja_lazy_select(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_args *args)
{
    return make(run, &(struct lazy){ .in = in, .args = *args, .wanted = true });
}

struct jinja_value jinja_lazy_reject(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_args *args)
{
    return make(run, &(struct lazy){ .in = in, .args = *args });
}

struct jinja_value jinja_lazy_selectattr(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_args *args)
{
    return make(run,
                &(struct lazy){ .in = in, .args = *args, .by_attribute = true, .wanted = true });
}

struct jinja_value jinja_lazy_rejectattr(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_args *args)
{
    return make(run, &(struct lazy){ .in = in, .args = *args, .by_attribute = true });
}

/* A filter that Python runs when its iterator is first read. */
struct deferred {
    const struct jinja_filter *filter;
    struct jinja_value in, args[JINJA_MAX_PARAMS];
    struct jinja_cursor cursor;
    bool called;
};

static bool next_deferred(struct jinja_run *run, struct jinja_iterator *iterator,
                          struct jinja_value *ret_item)
{
    struct deferred *deferred = iterator->state;
    if (!deferred->called) {
        deferred->called = true;
        const struct jinja_value list = deferred->filter->call(run, deferred->in, deferred->args);
        if (!jinja_run_ok(run))
            return false;
        deferred->cursor = jinja_cursor(run, list);
    }
    return jinja_cursor_next(run, &deferred->cursor, ret_item);
}

struct jinja_value jinja_lazy_defer(struct jinja_run *run, const struct jinja_filter *filter,
                                    struct jinja_value in,
                                    const struct jinja_value args[JINJA_MAX_PARAMS])
{
    struct jinja_iterator *iterator = jinja_run_alloc(run, 1, sizeof(*iterator));
    struct deferred *deferred = jinja_run_alloc(run, 1, sizeof(*deferred));
    if (iterator == NULL || deferred == NULL)
        return jinja_undefined(NULL);
    deferred->filter = filter;
    deferred->in = in;
    memcpy(deferred->args, args, JINJA_MAX_PARAMS * sizeof(*args));
    *iterator = (struct jinja_iterator){ .next = next_deferred,
                                         .name = filter->deferred,
                                         .state = deferred };
    return (struct jinja_value){ .type = JINJA_ITERATOR, .of.iterator = iterator };
}
