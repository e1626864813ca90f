#include "text/regex_syntax.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"

struct translation {
    const char *text;
    size_t len, at;
    bool in_class;
    struct strbuf *out;
    struct error *err;
};

static int refuse(const struct translation *t, const char *what)
{
    return error_set(t->err, -ENOTSUP,
                     "tokenizer.json: split pattern, byte %zu: %s is not supported", t->at, what);
}

static bool next_is(const struct translation *t, const char *text)
{
    const size_t len = strlen(text);
    return t->len - t->at >= len && memcmp(t->text + t->at, text, len) == 0;
}

static void copy(struct translation *t, size_t num)
{
    num = num < t->len - t->at ? num : t->len - t->at;
    strbuf_append(t->out, t->text + t->at, num);
    t->at += num;
}

static void replace(struct translation *t, size_t num, const char *text)
{
    strbuf_append_text(t->out, text);
    t->at += num;
}

/* \d, or one with its name in braces: \p{L}. */
static void copy_escape(struct translation *t)
{
    copy(t, 2);
    const char *end = next_is(t, "{") ? memchr(t->text + t->at, '}', t->len - t->at) : NULL;
    if (end != NULL)
        copy(t, (size_t)(end - t->text) + 1 - t->at);
}

static int translate_escape(struct translation *t)
{
    if (next_is(t, "\\h") || next_is(t, "\\H"))
        return refuse(t, "\\h");
    if (next_is(t, "\\S") && t->in_class)
        return refuse(t, "\\S in a class");
    if (next_is(t, "\\s"))
        replace(t, 2, t->in_class ? SPACES : "[" SPACES "]");
    else if (next_is(t, "\\S"))
        replace(t, 2, "[^" SPACES "]");
    else
        copy_escape(t);
    return 0;
}

static int translate_in_class(struct translation *t)
{
    if (next_is(t, "&&"))
        return refuse(t, "&& in a class");
    if (next_is(t, "[:")) {
        const char *end = memmem(t->text + t->at, t->len - t->at, ":]", 2);
        if (end == NULL)
            return refuse(t, "[: without :]");
        copy(t, (size_t)(end - t->text) + 2 - t->at);
        return 0;
    }
    if (next_is(t, "["))
        return refuse(t, "a class in a class");
    t->in_class = !next_is(t, "]");
    copy(t, 1);
    return 0;
}

static int translate_interval(struct translation *t)
{
    const char *end = memchr(t->text + t->at, '}', t->len - t->at);
    if (next_is(t, "{,"))
        return refuse(t, "{,n}");
    if (end != NULL && (size_t)(end + 1 - t->text) < t->len && end[1] == '+')
        return refuse(t, "+ behind an interval");
    copy(t, 1);
    return 0;
}

static int translate_one(struct translation *t)
{
    if (next_is(t, "\\"))
        return translate_escape(t);
    if (t->in_class)
        return translate_in_class(t);
    if (next_is(t, "{"))
        return translate_interval(t);
    if (next_is(t, "[")) {
        t->in_class = true;
        copy(t, next_is(t, "[^") ? 2 : 1);
        if (next_is(t, "]")) /* as the first character it is one of the class */
            copy(t, 1);
        return 0;
    }
    copy(t, 1);
    return 0;
}

int regex_syntax_translate(const char *pattern, size_t len, struct strbuf *out, struct error *err)
{
    struct translation t = { .text = pattern, .len = len, .out = out, .err = err };
    int r = 0;
    while (r == 0 && t.at < t.len)
        r = translate_one(&t);
    return r == 0 && out->failed ? -ENOMEM : r;
}
