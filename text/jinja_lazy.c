#include <errno.h>
#include <string.h>

#include "text/jinja_filters.h"
#include "text/jinja_lookup.h"
#include "text/jinja_tests.h"

/* map, select, reject, selectattr, rejectattr: item by item, when somebody reads. */
struct lazy {
    struct jinja_cursor cursor;
    struct jinja_value path, otherwise; /* of an attribute; MISSING: the item itself */
    const struct jinja_filter *filter;  /* of map */
    const struct jinja_test *test;      /* of the others; NULL: truth */
    struct jinja_args args;
    bool wanted; /* result of the test that lets an item through */
};

static bool next_mapped(struct jinja_run *run, struct jinja_iterator *iterator,
                        struct jinja_value *ret_item)
{
    struct lazy *lazy = iterator->state;
    struct jinja_value item;
    if (!jinja_cursor_next(run, &lazy->cursor, &item))
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
    while (jinja_cursor_next(run, &lazy->cursor, &item)) {
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

static struct jinja_value make(struct jinja_run *run, struct jinja_value in, const char *name,
                               const struct lazy *filled,
                               bool (*next)(struct jinja_run *run, struct jinja_iterator *iterator,
                                            struct jinja_value *ret_item))
{
    if (!jinja_run_ok(run))
        return jinja_undefined(NULL);
    struct jinja_iterator *iterator = jinja_run_alloc(run, 1, sizeof(*iterator));
    struct lazy *lazy = jinja_run_alloc(run, 1, sizeof(*lazy));
    if (iterator == NULL || lazy == NULL)
        return jinja_undefined(NULL);
    *lazy = *filled;
    lazy->cursor = jinja_cursor(run, in);
    *iterator = (struct jinja_iterator){ .next = next, .name = name, .state = lazy };
    return (struct jinja_value){ .type = JINJA_ITERATOR, .of.iterator = iterator };
}

static bool name_is(const struct jinja_keyword *keyword, const char *name)
{
    return keyword->name->len == strlen(name) &&
           memcmp(keyword->name->data, name, keyword->name->len) == 0;
}

/* map(attribute=..., default=...) */
static void take_attribute(struct jinja_run *run, const struct jinja_args *args, struct lazy *lazy)
{
    for (size_t i = 0; i < args->num_keywords; i++) {
        if (name_is(&args->keywords[i], "attribute"))
            lazy->path = args->keywords[i].value;
        else if (name_is(&args->keywords[i], "default"))
            lazy->otherwise = args->keywords[i].value;
        else
            jinja_run_fail(run, -EINVAL, "map takes 'attribute' and 'default' by name");
    }
    if (lazy->path.type == JINJA_MISSING)
        jinja_run_fail(run, -EINVAL, "map wants a filter or an attribute");
}

struct jinja_value jinja_lazy_map(struct jinja_run *run, struct jinja_value in,
                                  const struct jinja_args *args)
{
    struct lazy lazy = { .path = jinja_missing(), .otherwise = jinja_missing(), .args = *args };
    if (!jinja_truth(run, in)) /* also what could not be iterated, whatever the arguments */
        return jinja_iterate_list(run, jinja_list_create(run), "generator object sync_do_map");
    if (args->num == 0) {
        take_attribute(run, args, &lazy);
    } else if (args->args[0].type == JINJA_STRING) {
        const struct jinja_string *name = args->args[0].of.string;
        lazy.filter = jinja_filter_find(name->data, name->len);
        lazy.args.args++;
        lazy.args.num--;
    }
    if (args->num > 0 && lazy.filter == NULL)
        jinja_run_fail(run, -EINVAL, "map wants the name of a filter");
    return make(run, in, "generator object sync_do_map", &lazy, next_mapped);
}

static struct jinja_value select_items(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_args *args, bool by_attribute,
                                       bool wanted)
{
    struct lazy lazy = { .path = jinja_missing(), .args = *args, .wanted = wanted };
    if (!jinja_truth(run, in))
        return jinja_iterate_list(run, jinja_list_create(run), "generator object select_or_reject");
    if (by_attribute && lazy.args.num == 0)
        jinja_run_fail(run, -EINVAL, "the name of an attribute is wanted");
    else if (by_attribute) {
        lazy.path = *lazy.args.args++;
        lazy.args.num--;
    }
    if (lazy.args.num > 0 && jinja_run_ok(run)) {
        const struct jinja_value name = *lazy.args.args++;
        lazy.args.num--;
        if (name.type == JINJA_STRING)
            lazy.test = jinja_test_find(name.of.string->data, name.of.string->len);
        if (lazy.test == NULL)
            jinja_run_fail(run, -EINVAL, "the name of a test is wanted");
    }
    return make(run, in, "generator object select_or_reject", &lazy, next_selected);
}

struct jinja_value jinja_lazy_select(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_args *args)
{
    return select_items(run, in, args, false, true);
}

struct jinja_value jinja_lazy_reject(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_args *args)
{
    return select_items(run, in, args, false, false);
}

struct jinja_value jinja_lazy_selectattr(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_args *args)
{
    return select_items(run, in, args, true, true);
}

struct jinja_value jinja_lazy_rejectattr(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_args *args)
{
    return select_items(run, in, args, true, false);
}
