/*
 * replace.h - one text for every match of a pattern: Replace of normalizers and decoders
 */
#ifndef TEXT_REPLACE_H
#define TEXT_REPLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "text/component.h"
#include "text/splitter.h"

struct replace {
    struct splitter splitter;
    char *content;
    size_t content_len;
};

/* Read `pattern` and `content`. The caller finishes it in every case. Returns 0, -EINVAL,
 * -ENOTSUP, -ENOMEM. */
int replace_read(const struct component *c, struct replace *replace);
void replace_finish(struct replace *replace);

/* Append `text` with its matches replaced to `out`. Returns 0, -ENOMEM, -ERANGE (a pattern passed
 * PCRE2's limits). */
int replace_run(const struct replace *replace, struct regex_work *work, const char *text,
                size_t len, struct strbuf *out);

/* Is the result never shorter than the text? */
bool replace_keeps_length(const struct replace *replace);

#endif
