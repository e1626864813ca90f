#include "text/jinja/jinja_strip.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_text.h"

struct jinja_value jinja_bytes(struct jinja_run *run, const struct jinja_string *string,
                               size_t from, size_t to)
{
    return jinja_mark(run, jinja_string_over(run, string->data + from, to - from), string->markup);
}

static bool is_stripped(const struct jinja_string *chars, const char *text, size_t len)
{
    uint32_t codepoint;
    if (chars != NULL)
        return memmem(chars->data, chars->len, text, len) != NULL;
    return utf8_decode(text, len, &codepoint) > 0 && jinja_text_is_space(codepoint);
}

struct jinja_value jinja_strip(struct jinja_run *run, const struct jinja_string *string,
                               const struct jinja_string *chars, enum jinja_side sides)
{
    size_t from = 0, to = string->len;
    while ((sides & JINJA_LEFT) && from < to) {
        size_t len = 1;
        while (from + len < to && ((unsigned char)string->data[from + len] & 0xc0) == 0x80)
            len++;
        if (!jinja_run_charge(run, chars == NULL ? 0 : chars->len) ||
            !is_stripped(chars, string->data + from, len))
            break;
        from += len;
    }
    while ((sides & JINJA_RIGHT) && from < to) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)string->data[at] & 0xc0) == 0x80)
            at--;
        if (!jinja_run_charge(run, chars == NULL ? 0 : chars->len) ||
            !is_stripped(chars, string->data + at, to - at))
            break;
        to = at;
    }
    return jinja_bytes(run, string, from, to);
}

static void push_bytes(struct jinja_run *run, struct jinja_list *list,
                       const struct jinja_string *string, size_t from, size_t to)
{
    if (jinja_run_ok(run))
        jinja_list_push(run, list, jinja_bytes(run, string, from, to));
}

static void split_spaces(struct jinja_run *run, const struct jinja_string *string, int64_t most,
                         struct jinja_list *list)
{
    const char *data = string->data;
    size_t at = jinja_text_leading_space(data, string->len);
    while (at < string->len && jinja_run_ok(run)) {
        if (most-- == 0) {
            push_bytes(run, list, string, at, string->len);
            return;
        }
        size_t end = at;
        while (end < string->len && jinja_text_leading_space(data + end, string->len - end) == 0)
            end++;
        push_bytes(run, list, string, at, end);
        at = end + jinja_text_leading_space(data + end, string->len - end);
    }
}

static void split_text(struct jinja_run *run, const struct jinja_string *string,
                       const struct jinja_string *separator, int64_t most, struct jinja_list *list)
{
    size_t at = 0;
    while (most-- != 0 && jinja_run_ok(run)) {
        const char *hit =
            memmem(string->data + at, string->len - at, separator->data, separator->len);
        if (hit == NULL)
            break;
        const size_t end = (size_t)(hit - string->data);
        push_bytes(run, list, string, at, end);
        at = end + separator->len;
    }
    push_bytes(run, list, string, at, string->len);
}

static void reverse(struct jinja_list *list)
{
    for (size_t i = 0; i < list->num / 2; i++) {
        const struct jinja_value other = list->items[i];
        list->items[i] = list->items[list->num - 1 - i];
        list->items[list->num - 1 - i] = other;
    }
}

/* Back to front; the list is turned round at the end. */
static void rsplit_spaces(struct jinja_run *run, const struct jinja_string *string, int64_t most,
                          struct jinja_list *list)
{
    const char *data = string->data;
    size_t end = jinja_text_trimmed(data, string->len);
    while (end > 0 && jinja_run_ok(run)) {
        if (most-- == 0) {
            push_bytes(run, list, string, 0, end);
            return;
        }
        size_t at = end;
        while (at > 0 && jinja_text_trimmed(data, at) == at) {
            do
                at--;
            while (at > 0 && ((unsigned char)data[at] & 0xc0) == 0x80);
        }
        push_bytes(run, list, string, at, end);
        end = jinja_text_trimmed(data, at);
    }
}

/* The work is charged where the last byte fits: there is no reverse memmem() to bound it. */
static int64_t find_last(struct jinja_run *run, const struct jinja_string *string, size_t end,
                         const struct jinja_string *part)
{
    if (part->len == 0 || part->len > end)
        return part->len == 0 ? (int64_t)end : -1;
    const char last = part->data[part->len - 1];
    for (size_t at = end - part->len + 1; at-- > 0;) {
        if (string->data[at + part->len - 1] != last)
            continue;
        if (!jinja_run_charge(run, part->len))
            return -1;
        if (memcmp(string->data + at, part->data, part->len) == 0)
            return (int64_t)at;
    }
    return -1;
}

static void rsplit_text(struct jinja_run *run, const struct jinja_string *string,
                        const struct jinja_string *separator, int64_t most, struct jinja_list *list)
{
    size_t end = string->len;
    while (most-- != 0 && jinja_run_charge(run, separator->len)) {
        const int64_t at = find_last(run, string, end, separator);
        if (at < 0)
            break;
        push_bytes(run, list, string, (size_t)at + separator->len, end);
        end = (size_t)at;
    }
    push_bytes(run, list, string, 0, end);
}

struct jinja_value jinja_split(struct jinja_run *run, const struct jinja_string *string,
                               const struct jinja_string *separator, int64_t most,
                               enum jinja_side from)
{
    struct jinja_list *list = jinja_list_create(run);
    if (separator != NULL && separator->len == 0)
        jinja_run_fail(run, -EINVAL, "the separator of split is empty");
    if (list == NULL || !jinja_run_charge(run, string->len))
        return jinja_undefined(NULL);
    if (from == JINJA_LEFT && separator == NULL)
        split_spaces(run, string, most, list);
    else if (from == JINJA_LEFT)
        split_text(run, string, separator, most, list);
    else {
        if (separator == NULL)
            rsplit_spaces(run, string, most, list);
        else
            rsplit_text(run, string, separator, most, list);
        reverse(list);
    }
    return jinja_list_value(list, JINJA_LIST);
}

struct jinja_value jinja_split_lines(struct jinja_run *run, const struct jinja_string *string,
                                     bool keep_ends)
{
    struct jinja_list *list = jinja_list_create(run);
    size_t begin = 0, at = 0;
    while (at < string->len && jinja_run_ok(run)) {
        uint32_t codepoint;
        const int n = utf8_decode(string->data + at, string->len - at, &codepoint);
        const size_t end = at;
        at += n < 1 ? 1 : (size_t)n;
        if (n < 1 || !jinja_text_is_line_end(codepoint))
            continue;
        if (codepoint == '\r' && at < string->len && string->data[at] == '\n')
            at++;
        push_bytes(run, list, string, begin, keep_ends ? at : end);
        begin = at;
    }
    if (begin < string->len)
        push_bytes(run, list, string, begin, string->len);
    return jinja_list_value(list, JINJA_LIST);
}

/* Python finds the empty string before each character and at the end. */
static void replace_nothing(struct strbuf *out, const struct jinja_string *string,
                            const struct jinja_string *replacement, int64_t most)
{
    for (size_t at = 0; at <= string->len && !out->failed;) {
        if (most != 0) {
            strbuf_append(out, replacement->data, replacement->len);
            most--;
        }
        const size_t begin = at++;
        while (at < string->len && ((unsigned char)string->data[at] & 0xc0) == 0x80)
            at++;
        if (begin < string->len)
            strbuf_append(out, string->data + begin, at - begin);
    }
}

struct jinja_value jinja_replace(struct jinja_run *run, const struct jinja_string *string,
                                 const struct jinja_string *old,
                                 const struct jinja_string *replacement, int64_t most)
{
    struct strbuf out = jinja_buffer(run);
    if (!jinja_run_charge(run, string->len))
        return jinja_undefined(NULL);
    if (old->len == 0) {
        replace_nothing(&out, string, replacement, most);
        return jinja_mark(run, jinja_string_take(run, &out), string->markup);
    }
    size_t at = 0;
    for (const char *hit; most-- != 0 && !out.failed; at += old->len) {
        hit = memmem(string->data + at, string->len - at, old->data, old->len);
        if (hit == NULL)
            break;
        const size_t begin = (size_t)(hit - string->data);
        strbuf_append(&out, string->data + at, begin - at);
        strbuf_append(&out, replacement->data, replacement->len);
        at = begin;
    }
    strbuf_append(&out, string->data + at, string->len - at);
    return jinja_mark(run, jinja_string_take(run, &out), string->markup);
}

int64_t jinja_find(struct jinja_run *run, const struct jinja_string *string,
                   const struct jinja_string *part, enum jinja_side from)
{
    if (!jinja_run_charge(run, string->len))
        return -1;
    if (from == JINJA_RIGHT)
        return find_last(run, string, string->len, part);
    if (part->len == 0)
        return 0;
    const char *hit = memmem(string->data, string->len, part->data, part->len);
    return hit == NULL ? -1 : hit - string->data;
}
