#include "text/jinja/jinja_sort.h"

#include <string.h>

struct keyed {
    struct jinja_value key, item;
};

/* Merge two sorted runs. With `reverse` equal items still keep their order, as in Python. */
static void merge(struct jinja_run *run, const struct keyed *from, struct keyed *to, size_t begin,
                  size_t middle, size_t end, bool reverse)
{
    size_t left = begin, right = middle;
    for (size_t at = begin; at < end; at++) {
        bool take_right = left == middle;
        if (!take_right && right < end && jinja_run_ok(run)) {
            const int order = jinja_compare(run, from[right].key, from[left].key);
            take_right = reverse ? order > 0 : order < 0;
        }
        to[at] = from[take_right ? right++ : left++];
    }
}

void jinja_sort(struct jinja_run *run, struct jinja_list *list, const struct jinja_list *keys,
                bool reverse)
{
    const size_t num = list->num;
    struct keyed *from = jinja_run_alloc(run, num, sizeof(*from));
    struct keyed *to = jinja_run_alloc(run, num, sizeof(*to));
    if (from == NULL || to == NULL)
        return;
    for (size_t i = 0; i < num; i++)
        from[i] = (struct keyed){ (keys == NULL ? list : keys)->items[i], list->items[i] };

    for (size_t width = 1; width < num && jinja_run_charge(run, num); width *= 2) {
        for (size_t begin = 0; begin < num; begin += 2 * width) {
            const size_t middle = begin + width < num ? begin + width : num;
            const size_t end = middle + width < num ? middle + width : num;
            merge(run, from, to, begin, middle, end, reverse);
        }
        struct keyed *other = from;
        from = to;
        to = other;
    }
    for (size_t i = 0; i < num && jinja_run_ok(run); i++)
        list->items[i] = from[i].item;
}
