#include <errno.h>

#include "text/jinja/jinja_filters.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_math.h"
#include "text/jinja/jinja_print.h"
#include "text/jinja/jinja_sort.h"
#include "text/jinja/jinja_text.h"

static struct jinja_value ignore_case(struct jinja_run *run, struct jinja_value value)
{
    struct strbuf out = jinja_buffer(run);
    if (value.type != JINJA_STRING || !jinja_run_charge(run, value.of.string->len * 8))
        return value;
    jinja_text_convert(&out, value.of.string->data, value.of.string->len, JINJA_LOWER);
    return jinja_string_take(run, &out);
}

static struct jinja_value key_of(struct jinja_run *run, struct jinja_value item,
                                 struct jinja_value attribute, bool case_sensitive)
{
    const struct jinja_value key = jinja_lookup_path(run, item, attribute, jinja_missing());
    return case_sensitive ? key : ignore_case(run, key);
}

/* Part number `index` of "a.b,c", or MISSING behind the last. */
static struct jinja_value attribute_part(struct jinja_run *run, const struct jinja_string *all,
                                         size_t index)
{
    size_t begin = 0, end = 0;
    for (;; begin = end + 1) {
        for (end = begin; end < all->len && all->data[end] != ',';)
            end++;
        if (index-- == 0)
            return jinja_string_over(run, all->data + begin, end - begin);
        if (end == all->len)
            return jinja_missing();
    }
}

/* What sort compares: one key per item, or a list of them for attributes with commas. */
static struct jinja_value multi_key(struct jinja_run *run, struct jinja_value item,
                                    struct jinja_value attribute, bool case_sensitive)
{
    struct jinja_list *keys = jinja_list_create(run);
    if (attribute.type != JINJA_STRING) {
        jinja_list_push(run, keys, key_of(run, item, attribute, case_sensitive));
        return jinja_list_value(keys, JINJA_LIST);
    }
    for (size_t i = 0; jinja_run_ok(run); i++) {
        const struct jinja_value part = attribute_part(run, attribute.of.string, i);
        if (part.type == JINJA_MISSING)
            break;
        jinja_list_push(run, keys, key_of(run, item, part, case_sensitive));
    }
    return jinja_list_value(keys, JINJA_LIST);
}

/* Python's sorted() wants an integer here. */
static bool is_reverse(struct jinja_run *run, struct jinja_value arg)
{
    if (arg.type == JINJA_NONE)
        jinja_run_fail(run, -EINVAL, "reverse is None, an integer is wanted");
    return jinja_args_int(run, arg, 0) != 0;
}

struct jinja_value jinja_filter_sort(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    const bool case_sensitive = jinja_args_flag(run, args[1], false);
    const bool reverse = is_reverse(run, args[0]);
    struct jinja_list *list = jinja_to_list(run, in), keys = { 0 };
    for (size_t i = 0; list != NULL && i < list->num && jinja_run_ok(run); i++)
        jinja_list_push(run, &keys, multi_key(run, list->items[i], args[2], case_sensitive));
    if (jinja_run_ok(run))
        jinja_sort(run, list, &keys, reverse);
    return jinja_list_value(list, JINJA_LIST);
}

static struct jinja_list *dict_pairs(struct jinja_run *run, struct jinja_value in)
{
    struct jinja_view view = { .kind = JINJA_VIEW_ITEMS };
    if (in.type != JINJA_DICT) {
        jinja_run_fail(run, -EINVAL, "pairs are wanted of a dict, not of %s", jinja_type_name(in));
        return NULL;
    }
    view.dict = in.of.dict;
    return jinja_to_list(run, (struct jinja_value){ .type = JINJA_VIEW, .of.view = &view });
}

struct jinja_value jinja_filter_dictsort(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_value *args)
{
    const bool case_sensitive = jinja_args_flag(run, args[0], false);
    const bool by_value = jinja_is_text(args[1], "value");
    const bool reverse = is_reverse(run, args[2]);
    struct jinja_list keys = { 0 };

    if (args[1].type != JINJA_MISSING && !by_value && !jinja_is_text(args[1], "key"))
        jinja_run_fail(run, -EINVAL, "dictsort sorts by 'key' or 'value'");
    struct jinja_list *list = dict_pairs(run, in);
    for (size_t i = 0; list != NULL && i < list->num && jinja_run_ok(run); i++) {
        const struct jinja_value key = list->items[i].of.list->items[by_value];
        jinja_list_push(run, &keys, case_sensitive ? key : ignore_case(run, key));
    }
    if (jinja_run_ok(run))
        jinja_sort(run, list, &keys, reverse);
    return jinja_list_value(list, JINJA_LIST);
}

struct jinja_value jinja_filter_items(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    (void)args;
    if (in.type == JINJA_UNDEFINED)
        return jinja_list_value(jinja_list_create(run), JINJA_LIST);
    return jinja_list_value(dict_pairs(run, in), JINJA_LIST);
}

struct jinja_value jinja_filter_list(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    (void)args;
    return jinja_list_value(jinja_to_list(run, in), JINJA_LIST);
}

struct jinja_value jinja_filter_first(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    struct jinja_cursor cursor = jinja_cursor(run, in);
    struct jinja_value item;
    (void)args;
    return jinja_cursor_next(run, &cursor, &item) ? item : jinja_undefined(NULL);
}

struct jinja_value jinja_filter_last(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    (void)args;
    if (in.type == JINJA_STRING && in.of.string->num_chars > 0)
        return jinja_substring(run, in.of.string, in.of.string->num_chars - 1,
                               in.of.string->num_chars);
    if (jinja_length(in) < 0) {
        jinja_run_fail(run, -EINVAL, "a %s cannot be reversed", jinja_type_name(in));
        return in;
    }
    const struct jinja_list *list = jinja_to_list(run, in);
    return list == NULL || list->num == 0 ? jinja_undefined(NULL) : list->items[list->num - 1];
}

struct jinja_value jinja_filter_reverse(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    const struct jinja_value backwards[3] = { jinja_none(), jinja_none(), jinja_int(-1) };
    (void)args;
    if (in.type == JINJA_STRING)
        return jinja_slice(run, in, backwards);
    struct jinja_list *list = jinja_to_list(run, in);
    for (size_t i = 0; list != NULL && i < list->num / 2; i++) {
        const struct jinja_value other = list->items[i];
        list->items[i] = list->items[list->num - 1 - i];
        list->items[list->num - 1 - i] = other;
    }
    if (in.type == JINJA_ITERATOR)
        return jinja_list_value(list, JINJA_LIST);
    return jinja_iterate_list(run, list, "list_reverseiterator object");
}

struct jinja_value jinja_filter_join(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    const struct jinja_value separator = args[0].type == JINJA_MISSING
                                             ? jinja_string_over(run, "", 0)
                                             : jinja_print_value(run, args[0]);
    struct strbuf out = jinja_buffer(run);
    struct jinja_cursor cursor = jinja_cursor(run, in);
    struct jinja_value item;

    for (bool first = true; jinja_cursor_next(run, &cursor, &item) && !out.failed; first = false) {
        if (!first)
            jinja_print_str(run, &out, separator);
        jinja_print_str(run, &out, jinja_lookup_path(run, item, args[1], jinja_missing()));
    }
    return jinja_string_take(run, &out);
}

struct jinja_value jinja_filter_unique(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    const bool case_sensitive = jinja_args_flag(run, args[0], false);
    struct jinja_list *list = jinja_list_create(run);
    struct jinja_dict *seen = jinja_dict_create(run);
    struct jinja_cursor cursor = jinja_cursor(run, in);
    struct jinja_value item;

    while (jinja_cursor_next(run, &cursor, &item)) {
        const struct jinja_value key = key_of(run, item, args[1], case_sensitive);
        const size_t before = seen->num;
        jinja_dict_set(run, seen, key, jinja_none());
        if (jinja_run_ok(run) && seen->num > before)
            jinja_list_push(run, list, item);
    }
    return jinja_list_value(list, JINJA_LIST);
}

static struct jinja_value extreme(struct jinja_run *run, struct jinja_value in,
                                  const struct jinja_value *args, bool smallest)
{
    const bool case_sensitive = jinja_args_flag(run, args[0], false);
    struct jinja_value best = jinja_undefined(NULL), best_key = best, item;
    struct jinja_cursor cursor = jinja_cursor(run, in);

    for (bool first = true; jinja_cursor_next(run, &cursor, &item); first = false) {
        const struct jinja_value key = key_of(run, item, args[1], case_sensitive);
        if (!first) {
            const int order = jinja_compare(run, key, best_key);
            if (smallest ? order >= 0 : order <= 0)
                continue;
        }
        best = item;
        best_key = key;
    }
    return best;
}

struct jinja_value jinja_filter_min(struct jinja_run *run, struct jinja_value in,
                                    const struct jinja_value *args)
{
    return extreme(run, in, args, true);
}

struct jinja_value jinja_filter_max(struct jinja_run *run, struct jinja_value in,
                                    const struct jinja_value *args)
{
    return extreme(run, in, args, false);
}

struct jinja_value jinja_filter_sum(struct jinja_run *run, struct jinja_value in,
                                    const struct jinja_value *args)
{
    struct jinja_value sum = args[1].type == JINJA_MISSING ? jinja_int(0) : args[1];
    struct jinja_cursor cursor = jinja_cursor(run, in);
    struct jinja_value item;

    if (sum.type == JINJA_STRING)
        jinja_run_fail(run, -EINVAL, "sum does not add strings");
    while (jinja_cursor_next(run, &cursor, &item))
        sum = jinja_math_binary(run, JINJA_OP_ADD, sum,
                                jinja_lookup_path(run, item, args[0], jinja_missing()));
    return sum;
}

struct jinja_value jinja_filter_batch(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    const int64_t most = jinja_args_int(run, args[0], 0);
    struct jinja_list *rows = jinja_list_create(run), *row = NULL;
    struct jinja_cursor cursor = jinja_cursor(run, in);
    struct jinja_value item;

    while (jinja_cursor_next(run, &cursor, &item)) {
        if (row == NULL || (int64_t)row->num == most) {
            row = jinja_list_create(run);
            jinja_list_push(run, rows, jinja_list_value(row, JINJA_LIST));
        }
        jinja_list_push(run, row, item);
    }
    const bool fill = args[1].type != JINJA_MISSING && args[1].type != JINJA_NONE;
    while (fill && row != NULL && (int64_t)row->num < most && jinja_run_charge(run, 0))
        jinja_list_push(run, row, args[1]);
    return jinja_list_value(rows, JINJA_LIST);
}

struct jinja_value jinja_filter_slice(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    const struct jinja_list *list = jinja_to_list(run, in);
    const int64_t slices = jinja_args_int(run, args[0], 0);
    const bool fill = args[1].type != JINJA_MISSING && args[1].type != JINJA_NONE;
    struct jinja_list *rows = jinja_list_create(run);

    if (slices == 0)
        jinja_run_fail(run, -EINVAL, "slice wants a number of slices");
    if (!jinja_run_ok(run))
        return in;
    const int64_t num = (int64_t)list->num, per_row = slices > 0 ? num / slices : 0;
    const int64_t longer = slices > 0 ? num % slices : 0;
    for (int64_t i = 0, at = 0; i < slices && jinja_run_charge(run, 0); i++) {
        struct jinja_list *row = jinja_list_create(run);
        for (const int64_t end = at + per_row + (i < longer); at < end && jinja_run_ok(run);)
            jinja_list_push(run, row, list->items[at++]);
        if (fill && i >= longer)
            jinja_list_push(run, row, args[1]);
        jinja_list_push(run, rows, jinja_list_value(row, JINJA_LIST));
    }
    return jinja_list_value(rows, JINJA_LIST);
}

struct jinja_value jinja_filter_groupby(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    const bool case_sensitive = jinja_args_flag(run, args[2], false);
    struct jinja_list *list = jinja_to_list(run, in), keys = { 0 };
    struct jinja_list *groups = jinja_list_create(run), *group = NULL;
    struct jinja_value last = jinja_missing();

    for (size_t i = 0; list != NULL && i < list->num && jinja_run_ok(run); i++) {
        const struct jinja_value key = jinja_lookup_path(run, list->items[i], args[0], args[1]);
        jinja_list_push(run, &keys, case_sensitive ? key : ignore_case(run, key));
    }
    if (jinja_run_ok(run))
        jinja_sort(run, list, &keys, false);
    for (size_t i = 0; jinja_run_ok(run) && i < list->num; i++) {
        const struct jinja_value shown = jinja_lookup_path(run, list->items[i], args[0], args[1]);
        const struct jinja_value key = case_sensitive ? shown : ignore_case(run, shown);
        if (group == NULL || !jinja_equal(run, key, last)) {
            struct jinja_list *pair = jinja_list_create(run);
            group = jinja_list_create(run);
            jinja_list_push(run, pair, shown);
            jinja_list_push(run, pair, jinja_list_value(group, JINJA_LIST));
            jinja_list_push(run, groups, jinja_list_value(pair, JINJA_TUPLE));
        }
        jinja_list_push(run, group, list->items[i]);
        last = key;
    }
    return jinja_list_value(groups, JINJA_LIST);
}
