#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_value.h"

int64_t jinja_length(struct jinja_value value)
{
    switch (value.type) {
    case JINJA_UNDEFINED:
        return 0;
    case JINJA_STRING:
        return (int64_t)value.of.string->num_chars;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return (int64_t)value.of.list->num;
    case JINJA_DICT:
        return (int64_t)value.of.dict->num;
    case JINJA_VIEW:
        return (int64_t)value.of.view->dict->num;
    case JINJA_RANGE:
        return value.of.range->num;
    default:
        return -1;
    }
}

bool jinja_is_iterable(struct jinja_value value)
{
    return value.type == JINJA_ITERATOR || value.type == JINJA_LOOP || jinja_length(value) >= 0;
}

struct jinja_cursor jinja_cursor(struct jinja_run *run, struct jinja_value over)
{
    if (!jinja_is_iterable(over) || over.type == JINJA_LOOP) {
        jinja_run_fail(run, -EINVAL, "a %s cannot be iterated", jinja_type_name(over));
        over = jinja_undefined(NULL);
    }
    return (struct jinja_cursor){ .over = over };
}

static struct jinja_value pair(struct jinja_run *run, struct jinja_value a, struct jinja_value b)
{
    struct jinja_list *list = jinja_list_create(run);
    jinja_list_push(run, list, a);
    jinja_list_push(run, list, b);
    return jinja_list_value(list, JINJA_TUPLE);
}

static struct jinja_value view_item(struct jinja_run *run, const struct jinja_view *view, size_t at)
{
    const struct jinja_entry *entry = &view->dict->entries[at];
    switch (view->kind) {
    case JINJA_VIEW_KEYS:
        return entry->key;
    case JINJA_VIEW_VALUES:
        return entry->value;
    case JINJA_VIEW_ITEMS:
        break;
    }
    return pair(run, entry->key, entry->value);
}

static bool next_char(struct jinja_run *run, struct jinja_cursor *cursor, struct jinja_value *ret)
{
    const struct jinja_string *string = cursor->over.of.string;
    uint32_t codepoint;
    if (cursor->at >= string->len)
        return false;
    const int len = utf8_decode(string->data + cursor->at, string->len - cursor->at, &codepoint);
    *ret = jinja_string_over(run, string->data + cursor->at, len < 1 ? 1 : (size_t)len);
    cursor->at += len < 1 ? 1 : (size_t)len;
    return true;
}

static bool next_of_iterator(struct jinja_run *run, struct jinja_iterator *iterator,
                             struct jinja_value *ret_item)
{
    if (!jinja_run_enter(run))
        return false;
    const bool found = iterator->next(run, iterator, ret_item);
    jinja_run_leave(run);
    return found && jinja_run_ok(run);
}

bool jinja_cursor_next(struct jinja_run *run, struct jinja_cursor *cursor,
                       struct jinja_value *ret_item)
{
    const struct jinja_value over = cursor->over;

    if (!jinja_run_charge(run, 0))
        return false;
    if (over.type == JINJA_ITERATOR)
        return next_of_iterator(run, over.of.iterator, ret_item);
    if (over.type == JINJA_STRING)
        return next_char(run, cursor, ret_item);
    if ((int64_t)cursor->at >= jinja_length(over))
        return false;

    const size_t at = cursor->at++;
    if (over.type == JINJA_DICT)
        *ret_item = over.of.dict->entries[at].key;
    else if (over.type == JINJA_VIEW)
        *ret_item = view_item(run, over.of.view, at);
    else if (over.type == JINJA_RANGE)
        *ret_item = jinja_int(over.of.range->start + (int64_t)at * over.of.range->step);
    else
        *ret_item = over.of.list->items[at];
    return jinja_run_ok(run);
}

struct jinja_list *jinja_to_list(struct jinja_run *run, struct jinja_value value)
{
    struct jinja_list *list = jinja_list_create(run);
    struct jinja_cursor cursor = jinja_cursor(run, value);
    struct jinja_value item;
    while (jinja_cursor_next(run, &cursor, &item))
        jinja_list_push(run, list, item);
    return jinja_run_ok(run) ? list : NULL;
}

struct list_state {
    struct jinja_list *list;
    size_t at;
};

static bool next_of_list(struct jinja_run *run, struct jinja_iterator *iterator,
                         struct jinja_value *ret_item)
{
    struct list_state *state = iterator->state;
    (void)run;
    if (state->at >= state->list->num)
        return false;
    *ret_item = state->list->items[state->at++];
    return true;
}

struct jinja_value jinja_iterate_list(struct jinja_run *run, struct jinja_list *list,
                                      const char *name)
{
    struct jinja_iterator *iterator = jinja_run_alloc(run, 1, sizeof(*iterator));
    struct list_state *state = jinja_run_alloc(run, 1, sizeof(*state));
    if (iterator == NULL || state == NULL || list == NULL)
        return jinja_undefined(NULL);
    *state = (struct list_state){ .list = list };
    *iterator = (struct jinja_iterator){ .next = next_of_list, .name = name, .state = state };
    return (struct jinja_value){ .type = JINJA_ITERATOR, .of.iterator = iterator };
}

static bool contains_text(struct jinja_run *run, struct jinja_value container,
                          struct jinja_value item)
{
    if (item.type != JINJA_STRING) {
        jinja_run_fail(run, -EINVAL, "'in <string>' wants a string, not %s", jinja_type_name(item));
        return false;
    }
    const struct jinja_string *text = container.of.string, *part = item.of.string;
    if (part->len == 0 || !jinja_run_charge(run, text->len))
        return part->len == 0;
    return memmem(text->data, text->len, part->data, part->len) != NULL;
}

static bool contains_key(struct jinja_run *run, const struct jinja_dict *dict,
                         struct jinja_value key)
{
    if (key.type == JINJA_LIST || key.type == JINJA_DICT)
        jinja_run_fail(run, -EINVAL, "a %s cannot be a key", jinja_type_name(key));
    return jinja_dict_find(run, dict, key) != NULL;
}

bool jinja_contains(struct jinja_run *run, struct jinja_value container, struct jinja_value item)
{
    struct jinja_value other;
    bool found = false;

    if (container.type == JINJA_STRING)
        return contains_text(run, container, item);
    if (container.type == JINJA_DICT)
        return contains_key(run, container.of.dict, item);
    if (container.type == JINJA_VIEW && container.of.view->kind == JINJA_VIEW_KEYS)
        return contains_key(run, container.of.view->dict, item);
    struct jinja_cursor cursor = jinja_cursor(run, container);
    while (!found && jinja_cursor_next(run, &cursor, &other))
        found = jinja_same(other, item) || jinja_equal(run, other, item);
    return found;
}

static bool find_index(struct jinja_value key, int64_t num, int64_t *ret_index)
{
    if (!jinja_is_integral(key))
        return false;
    const int64_t index = key.of.integer < 0 ? key.of.integer + num : key.of.integer;
    *ret_index = index;
    return index >= 0 && index < num;
}

struct jinja_value jinja_item(struct jinja_run *run, struct jinja_value value,
                              struct jinja_value key)
{
    int64_t index;

    if (value.type == JINJA_DICT) {
        const struct jinja_entry *entry = jinja_dict_find(run, value.of.dict, key);
        return entry == NULL ? jinja_missing() : entry->value;
    }
    if (value.type != JINJA_STRING && value.type != JINJA_LIST && value.type != JINJA_TUPLE &&
        value.type != JINJA_RANGE)
        return jinja_missing();
    if (!find_index(key, jinja_length(value), &index))
        return jinja_missing();
    if (value.type == JINJA_STRING)
        return jinja_substring(run, value.of.string, (size_t)index, (size_t)index + 1);
    if (value.type == JINJA_RANGE)
        return jinja_int(value.of.range->start + index * value.of.range->step);
    return value.of.list->items[index];
}

struct span {
    int64_t start, step, num;
};

static int64_t clamp(int64_t index, int64_t num, int64_t low, int64_t high)
{
    if (index < 0)
        index = index < -num ? -1 : index + num;
    return index < low ? low : index > high ? high : index;
}

/* As Python's slice.indices(): false for a bound that is neither None nor an integer. */
static bool find_span(struct jinja_run *run, const struct jinja_value bounds[3], int64_t num,
                      struct span *ret_span)
{
    for (int i = 0; i < 3; i++)
        if (bounds[i].type != JINJA_NONE && !jinja_is_integral(bounds[i]))
            return false;
    int64_t step = bounds[2].type == JINJA_NONE ? 1 : bounds[2].of.integer;
    if (step == 0) {
        jinja_run_fail(run, -EINVAL, "slice step cannot be zero");
        return false;
    }
    if (step < -INT64_MAX)
        step = -INT64_MAX;
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? num - 1 : num;
    int64_t start = step < 0 ? high : low, stop = step < 0 ? low : high;
    if (bounds[0].type != JINJA_NONE)
        start = clamp(bounds[0].of.integer, num, low, high);
    if (bounds[1].type != JINJA_NONE)
        stop = clamp(bounds[1].of.integer, num, low, high);
    const int64_t distance = step < 0 ? start - stop : stop - start;
    const int64_t stride = step < 0 ? -step : step;
    *ret_span = (struct span){ start, step, distance <= 0 ? 0 : (distance - 1) / stride + 1 };
    return true;
}

static struct jinja_value slice_list(struct jinja_run *run, struct jinja_value value,
                                     const struct span *span)
{
    struct jinja_list *list = jinja_list_create(run);
    if (span->step == 1 && list != NULL) { /* the items are shared: nobody changes a list */
        list->items = value.of.list->items + span->start;
        list->num = list->cap = (size_t)span->num;
        return jinja_list_value(list, value.type);
    }
    for (int64_t i = 0; i < span->num && jinja_run_ok(run); i++)
        jinja_list_push(run, list, value.of.list->items[span->start + i * span->step]);
    return jinja_list_value(list, value.type);
}

static void append_char_at(struct strbuf *buf, const struct jinja_string *string, size_t at)
{
    size_t len = 1;
    while (at + len < string->len && ((unsigned char)string->data[at + len] & 0xc0) == 0x80)
        len++;
    strbuf_append(buf, string->data + at, len);
}

/* Steps other than 1 walk over a table of where the characters begin. */
static struct jinja_value slice_string(struct jinja_run *run, const struct jinja_string *string,
                                       const struct span *span)
{
    if (span->step == 1)
        return jinja_substring(run, string, (size_t)span->start, (size_t)(span->start + span->num));
    size_t *offsets = jinja_run_alloc(run, string->num_chars, sizeof(*offsets));
    if (offsets == NULL)
        return jinja_undefined(NULL);
    size_t num = 0;
    for (size_t at = 0; at < string->len; at++)
        if (((unsigned char)string->data[at] & 0xc0) != 0x80 && num < string->num_chars)
            offsets[num++] = at;
    struct strbuf buf = jinja_buffer(run);
    for (int64_t i = 0; i < span->num && !buf.failed; i++)
        append_char_at(&buf, string, offsets[span->start + i * span->step]);
    return jinja_mark(run, jinja_string_take(run, &buf), string->markup);
}

static struct jinja_value slice_range(struct jinja_run *run, const struct jinja_range *range,
                                      const struct span *span)
{
    struct jinja_range *part = jinja_run_alloc(run, 1, sizeof(*part));
    if (part == NULL)
        return jinja_undefined(NULL);
    /* Unsigned: what is not reached by any item may wrap. */
    const uint64_t step = (uint64_t)range->step;
    const uint64_t start = (uint64_t)range->start + (uint64_t)span->start * step;
    const uint64_t stride = step * (uint64_t)span->step;
    *part = (struct jinja_range){ .start = (int64_t)start,
                                  .stop = (int64_t)(start + (uint64_t)span->num * stride),
                                  .step = (int64_t)stride,
                                  .num = span->num };
    return (struct jinja_value){ .type = JINJA_RANGE, .of.range = part };
}

struct jinja_value jinja_slice(struct jinja_run *run, struct jinja_value value,
                               const struct jinja_value bounds[3])
{
    struct span span;
    const bool sliceable = value.type == JINJA_STRING || value.type == JINJA_LIST ||
                           value.type == JINJA_TUPLE || value.type == JINJA_RANGE;
    if (!sliceable || !find_span(run, bounds, jinja_length(value), &span))
        return jinja_missing();
    if (value.type == JINJA_STRING)
        return slice_string(run, value.of.string, &span);
    if (value.type == JINJA_RANGE)
        return slice_range(run, value.of.range, &span);
    return slice_list(run, value, &span);
}
