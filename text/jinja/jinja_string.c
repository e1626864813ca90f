#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_value.h"

/*
 * Bytes that strings share. A string that ends where the bytes end may be appended to in
 * place: the longer string has the same beginning, and the shorter one does not look further.
 */
struct jinja_grown {
    char *data;
    size_t used, cap;
};

static struct jinja_value make(struct jinja_run *run, const char *data, size_t len,
                               size_t num_chars)
{
    struct jinja_string *string = jinja_run_alloc(run, 1, sizeof(*string));
    if (string == NULL)
        return jinja_undefined(NULL);
    *string = (struct jinja_string){ .data = data, .len = len, .num_chars = num_chars };
    return (struct jinja_value){ .type = JINJA_STRING, .of.string = string };
}

struct jinja_value jinja_string_over(struct jinja_run *run, const char *data, size_t len)
{
    if (!jinja_run_charge(run, len / 4))
        return jinja_undefined(NULL);
    return make(run, data, len, utf8_count(data, len));
}

struct jinja_value jinja_string_copy(struct jinja_run *run, const char *data, size_t len)
{
    char *copy = jinja_run_alloc(run, len, 1);
    if (copy == NULL)
        return jinja_undefined(NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return jinja_string_over(run, copy, len);
}

struct strbuf jinja_buffer(const struct jinja_run *run)
{
    return (struct strbuf){ .limit = run->max_output };
}

struct jinja_value jinja_string_take(struct jinja_run *run, struct strbuf *buf)
{
    struct jinja_value string = jinja_undefined(NULL);
    if (buf->failed)
        jinja_run_fail(run, buf->len > buf->limit / 2 ? -E2BIG : -ENOMEM,
                       "a text of more than %zu bytes", buf->len);
    else
        string = jinja_string_copy(run, buf->data, buf->len);
    strbuf_finish(buf);
    return string;
}

static const char *escape_of(char c)
{
    static const struct {
        char c;
        const char *text;
    } rows[] = {
        { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '\'', "&#39;" }, { '"', "&#34;" }
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].c == c)
            return rows[i].text;
    return NULL;
}

struct jinja_value jinja_escape(struct jinja_run *run, struct jinja_string *string)
{
    struct strbuf buf = jinja_buffer(run);
    for (size_t i = 0; i < string->len && !buf.failed; i++) {
        const char *text = escape_of(string->data[i]);
        strbuf_append(&buf, text == NULL ? &string->data[i] : text,
                      text == NULL ? 1 : strlen(text));
    }
    return jinja_mark(run, jinja_string_take(run, &buf), true);
}

struct jinja_value jinja_mark(struct jinja_run *run, struct jinja_value string, bool markup)
{
    if (string.type != JINJA_STRING || string.of.string->markup == markup)
        return string;
    struct jinja_string *copy = jinja_run_alloc(run, 1, sizeof(*copy));
    if (copy == NULL)
        return jinja_undefined(NULL);
    *copy = *string.of.string;
    copy->markup = markup;
    return (struct jinja_value){ .type = JINJA_STRING, .of.string = copy };
}

static bool append_in_place(const struct jinja_string *left, const struct jinja_string *right)
{
    struct jinja_grown *grown = left->grown;
    if (grown == NULL || left->data + left->len != grown->data + grown->used ||
        right->len > grown->cap - grown->used)
        return false;
    memcpy(grown->data + grown->used, right->data, right->len);
    grown->used += right->len;
    return true;
}

/* Only what was grown before gets room in reserve: most sums are printed and forgotten. */
static struct jinja_grown *grow(struct jinja_run *run, const struct jinja_string *left,
                                const struct jinja_string *right)
{
    const size_t len = left->len + right->len;
    struct jinja_grown *grown = jinja_run_alloc(run, 1, sizeof(*grown));
    if (grown == NULL)
        return NULL;
    grown->cap = left->grown != NULL && len > 256 ? len * 2 : len;
    grown->data = jinja_run_alloc(run, grown->cap, 1);
    if (grown->data == NULL)
        return NULL;
    if (left->len > 0)
        memcpy(grown->data, left->data, left->len);
    if (right->len > 0)
        memcpy(grown->data + left->len, right->data, right->len);
    grown->used = len;
    return grown;
}

static struct jinja_value concat(struct jinja_run *run, const struct jinja_string *left,
                                 const struct jinja_string *right)
{
    if (left->len + right->len > run->max_output) {
        jinja_run_fail(run, -E2BIG, "a text of more than %zu bytes", run->max_output);
        return jinja_undefined(NULL);
    }
    if (!jinja_run_charge(run, right->len))
        return jinja_undefined(NULL);
    struct jinja_value sum =
        make(run, left->data, left->len + right->len, left->num_chars + right->num_chars);
    if (sum.type != JINJA_STRING || right->len == 0)
        return sum;
    if (append_in_place(left, right)) {
        sum.of.string->grown = left->grown;
        return sum;
    }
    struct jinja_grown *grown = grow(run, left, right);
    if (grown == NULL)
        return jinja_undefined(NULL);
    sum.of.string->data = grown->data;
    sum.of.string->grown = grown;
    return sum;
}

struct jinja_value jinja_string_concat(struct jinja_run *run, struct jinja_string *left,
                                       struct jinja_string *right)
{
    const bool markup = left->markup || right->markup;
    struct jinja_value escaped = jinja_undefined(NULL);

    if (left->markup != right->markup) {
        escaped = jinja_escape(run, left->markup ? right : left);
        if (escaped.type != JINJA_STRING)
            return escaped;
        left = left->markup ? left : escaped.of.string;
        right = left == escaped.of.string ? right : escaped.of.string;
    }
    const struct jinja_value sum = concat(run, left, right);
    if (sum.type == JINJA_STRING)
        sum.of.string->markup = markup;
    return sum;
}

size_t jinja_string_offset(const struct jinja_string *string, size_t index)
{
    if (string->num_chars == string->len)
        return index;
    size_t at = 0;
    for (; index > 0 && at < string->len; index--) {
        at++;
        while (at < string->len && ((unsigned char)string->data[at] & 0xc0) == 0x80)
            at++;
    }
    return at;
}

struct jinja_value jinja_substring(struct jinja_run *run, const struct jinja_string *string,
                                   size_t from, size_t to)
{
    if (string->num_chars != string->len && !jinja_run_charge(run, to))
        return jinja_undefined(NULL);
    const size_t begin = jinja_string_offset(string, from);
    const struct jinja_string rest = { .data = string->data + begin,
                                       .len = string->len - begin,
                                       .num_chars = string->num_chars - from };
    const size_t len = jinja_string_offset(&rest, to - from);
    const struct jinja_value part = make(run, rest.data, len, to - from);
    return jinja_mark(run, part, string->markup);
}
