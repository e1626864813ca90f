#include "text/replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

int replace_read(const struct component *c, struct replace *replace)
{
    json_t *content;
    int r = component_get(c, "content", JSON_STRING, &content);
    if (r == 0)
        r = splitter_read(c, true, &replace->splitter);
    if (r < 0)
        return r;
    if (replace->splitter.type == SPLITTER_LITERAL && replace->splitter.literal_len == 0)
        return error_set(c->err, -ENOTSUP, "tokenizer.json: %s.pattern is empty, wanted a text",
                         c->where);
    replace->content_len = json_string_length(content);
    replace->content = malloc(replace->content_len + 1);
    if (replace->content == NULL)
        return -ENOMEM;
    memcpy(replace->content, json_string_value(content), replace->content_len);
    return 0;
}

void replace_finish(struct replace *replace)
{
    splitter_finish(&replace->splitter);
    free(replace->content);
    *replace = (struct replace){ 0 };
}

/* The usual case, one byte for a few: a space becomes U+2581. */
static int run_byte(const struct replace *replace, const char *text, size_t len, struct strbuf *out)
{
    const char *end = text + len;
    if (!strbuf_reserve(out, len))
        return -ENOMEM;
    while (text < end) {
        const char *found = memchr(text, replace->splitter.literal[0], (size_t)(end - text));
        strbuf_append(out, text, (size_t)((found != NULL ? found : end) - text));
        if (found != NULL)
            strbuf_append(out, replace->content, replace->content_len);
        text = found != NULL ? found + 1 : end;
    }
    return out->failed ? -ENOMEM : 0;
}

static size_t char_len(const char *text, size_t len)
{
    size_t n = 0;
    if (len > 0)
        unicode_decode(text, text + len, &n);
    return n;
}

int replace_run(const struct replace *replace, struct regex_work *work, const char *text,
                size_t len, struct strbuf *out)
{
    struct splitter_match match;
    size_t from = 0, done = 0;
    int r = 0;
    if (replace->splitter.type == SPLITTER_LITERAL && replace->splitter.literal_len == 1)
        return run_byte(replace, text, len, out);
    while (from < len &&
           (r = splitter_find(&replace->splitter, work, text, len, from, &match)) > 0) {
        strbuf_append(out, text + done, match.start - done);
        strbuf_append(out, replace->content, replace->content_len);
        done = match.end;
        from = match.end + (match.end == match.start ? char_len(text + done, len - done) : 0);
    }
    if (r < 0)
        return r;
    strbuf_append(out, text + done, len - done);
    return out->failed ? -ENOMEM : 0;
}

bool replace_keeps_length(const struct replace *replace)
{
    return replace->splitter.type == SPLITTER_LITERAL &&
           replace->content_len >= replace->splitter.literal_len;
}
