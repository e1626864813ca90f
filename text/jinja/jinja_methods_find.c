#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_methods.h"
#include "text/jinja/jinja_strip.h"

/* self[start:end] as find(), count() and startswith() take it; false where start lies beyond. */
static bool window(struct jinja_run *run, struct jinja_value self, const struct jinja_value *args,
                   struct jinja_value *ret_part, int64_t *ret_start)
{
    const int64_t num = (int64_t)self.of.string->num_chars;
    int64_t start = jinja_args_int(run, args[0], 0), end = jinja_args_int(run, args[1], num);

    start = start < -num ? 0 : start < 0 ? start + num : start;
    end = end < -num ? 0 : end < 0 ? end + num : end > num ? num : end;
    *ret_start = start;
    if (start > end || !jinja_run_ok(run))
        return false;
    *ret_part = self;
    if (start > 0 || end < num)
        *ret_part = jinja_substring(run, self.of.string, (size_t)start, (size_t)end);
    return jinja_run_ok(run);
}

static bool has_affix(const struct jinja_string *string, const struct jinja_string *affix,
                      bool at_end)
{
    return affix->len <= string->len &&
           memcmp(string->data + (at_end ? string->len - affix->len : 0), affix->data,
                  affix->len) == 0;
}

static struct jinja_value affixed(struct jinja_run *run, struct jinja_value self,
                                  const struct jinja_value *args, bool at_end)
{
    struct jinja_value part;
    int64_t start;
    bool found = false;

    const bool inside = window(run, self, args + 1, &part, &start);
    if (args[0].type != JINJA_TUPLE) {
        const struct jinja_string *affix = jinja_method_need_string(run, args[0]);
        return jinja_bool(inside && has_affix(part.of.string, affix, at_end));
    }
    for (size_t i = 0; i < args[0].of.list->num && !found && jinja_run_charge(run, 0); i++) {
        const struct jinja_string *affix = jinja_method_need_string(run, args[0].of.list->items[i]);
        found = inside && has_affix(part.of.string, affix, at_end);
    }
    return jinja_bool(found);
}

struct jinja_value jinja_method_startswith(struct jinja_run *run, struct jinja_value self,
                                           const struct jinja_value *args)
{
    return affixed(run, self, args, false);
}

struct jinja_value jinja_method_endswith(struct jinja_run *run, struct jinja_value self,
                                         const struct jinja_value *args)
{
    return affixed(run, self, args, true);
}

static int64_t find_char(struct jinja_run *run, struct jinja_value self,
                         const struct jinja_value *args, enum jinja_side from)
{
    struct jinja_value part;
    int64_t start;
    const struct jinja_string *wanted = jinja_method_need_string(run, args[0]);

    if (!window(run, self, args + 1, &part, &start))
        return -1;
    const int64_t at = jinja_find(run, part.of.string, wanted, from);
    return at < 0 ? -1 : start + (int64_t)utf8_count(part.of.string->data, (size_t)at);
}

struct jinja_value jinja_method_find(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    return jinja_int(find_char(run, self, args, JINJA_LEFT));
}

struct jinja_value jinja_method_rfind(struct jinja_run *run, struct jinja_value self,
                                      const struct jinja_value *args)
{
    return jinja_int(find_char(run, self, args, JINJA_RIGHT));
}

static struct jinja_value need_found(struct jinja_run *run, int64_t index)
{
    if (index < 0)
        jinja_run_fail(run, -EINVAL, "substring not found");
    return jinja_int(index);
}

struct jinja_value jinja_method_index(struct jinja_run *run, struct jinja_value self,
                                      const struct jinja_value *args)
{
    return need_found(run, find_char(run, self, args, JINJA_LEFT));
}

struct jinja_value jinja_method_rindex(struct jinja_run *run, struct jinja_value self,
                                       const struct jinja_value *args)
{
    return need_found(run, find_char(run, self, args, JINJA_RIGHT));
}

struct jinja_value jinja_method_count(struct jinja_run *run, struct jinja_value self,
                                      const struct jinja_value *args)
{
    struct jinja_value part;
    int64_t start, num = 0;
    const struct jinja_string *wanted = jinja_method_need_string(run, args[0]);

    if (!window(run, self, args + 1, &part, &start) || !jinja_run_charge(run, part.of.string->len))
        return jinja_int(0);
    if (wanted->len == 0)
        return jinja_int((int64_t)part.of.string->num_chars + 1);
    const char *at = part.of.string->data, *end = at + part.of.string->len;
    while ((at = memmem(at, (size_t)(end - at), wanted->data, wanted->len)) != NULL &&
           jinja_run_charge(run, 0)) {
        at += wanted->len;
        num++;
    }
    return jinja_int(num);
}

struct jinja_value jinja_method_removeprefix(struct jinja_run *run, struct jinja_value self,
                                             const struct jinja_value *args)
{
    const struct jinja_string *affix = jinja_method_need_string(run, args[0]);
    if (!has_affix(self.of.string, affix, false))
        return self;
    return jinja_bytes(run, self.of.string, affix->len, self.of.string->len);
}

struct jinja_value jinja_method_removesuffix(struct jinja_run *run, struct jinja_value self,
                                             const struct jinja_value *args)
{
    const struct jinja_string *affix = jinja_method_need_string(run, args[0]);
    if (!has_affix(self.of.string, affix, true))
        return self;
    return jinja_bytes(run, self.of.string, 0, self.of.string->len - affix->len);
}

static struct jinja_value partition(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args, enum jinja_side from)
{
    const struct jinja_string *string = self.of.string,
                              *separator = jinja_method_need_string(run, args[0]);
    struct jinja_list *list = jinja_list_create(run);
    if (separator->len == 0)
        jinja_run_fail(run, -EINVAL, "the separator of partition is empty");
    if (!jinja_run_ok(run))
        return jinja_undefined(NULL);

    const int64_t at = jinja_find(run, string, separator, from);
    const size_t none = from == JINJA_LEFT ? string->len : 0; /* all is on one side */
    const size_t left = at < 0 ? none : (size_t)at;
    const size_t right = at < 0 ? none : (size_t)at + separator->len;
    jinja_list_push(run, list, jinja_bytes(run, string, 0, left));
    jinja_list_push(run, list, jinja_bytes(run, string, left, right));
    jinja_list_push(run, list, jinja_bytes(run, string, right, string->len));
    return jinja_list_value(list, JINJA_TUPLE);
}

struct jinja_value jinja_method_partition(struct jinja_run *run, struct jinja_value self,
                                          const struct jinja_value *args)
{
    return partition(run, self, args, JINJA_LEFT);
}

struct jinja_value jinja_method_rpartition(struct jinja_run *run, struct jinja_value self,
                                           const struct jinja_value *args)
{
    return partition(run, self, args, JINJA_RIGHT);
}
