#include "text/pre_tokenizer.h"

#include <errno.h>
#include <string.h>

#include "text/regex.h"
#include "text/unicode.h"

void pre_tokenizer_finish(struct pre_tokenizer *pre)
{
    for (int32_t i = 0; i < pre->num_stages; i++)
        splitter_finish(&pre->stages[i].splitter);
    *pre = (struct pre_tokenizer){ 0 };
}

int pre_tokenizer_work_init(struct pre_tokenizer_work *work)
{
    *work = (struct pre_tokenizer_work){ 0 };
    return regex_work_create(&work->regex);
}

void pre_tokenizer_work_finish(struct pre_tokenizer_work *work)
{
    regex_work_destroy(work->regex);
    for (size_t i = 0; i < PRE_TOKENIZER_STAGES_MAX; i++)
        strbuf_finish(&work->written[i]);
    *work = (struct pre_tokenizer_work){ 0 };
}

bool pre_tokenizer_removes(const struct pre_tokenizer *pre)
{
    for (int32_t i = 0; i < pre->num_stages; i++)
        if (pre->stages[i].behavior == PRE_TOKENIZER_REMOVED)
            return true;
    return false;
}

struct run {
    const struct pre_tokenizer *pre;
    struct pre_tokenizer_work *work;
    pre_tokenizer_sink *sink;
    void *context;
};

static int run_stage(const struct run *run, int32_t i, const char *text, size_t len, bool first);

static int run_covering(const struct run *run, int32_t i, const char *text, size_t len, bool first)
{
    const struct splitter *splitter = &run->pre->stages[i].splitter;
    const char *end = text + len;
    int r = 0;
    while (r == 0 && text < end) {
        const char *next = splitter_next(splitter, text, end);
        r = run_stage(run, i + 1, text, (size_t)(next - text), first);
        text = next;
        first = false;
    }
    return r;
}

/* The piece that is being put together from matches and gaps. */
struct pending {
    const struct run *run;
    int32_t stage;
    const char *text;
    size_t start, end;
    bool first;      /* the text is */
    bool any, match; /* `match`: of the segment added last */
};

static bool joins(enum pre_tokenizer_behavior behavior, bool last, bool match)
{
    switch (behavior) {
    case PRE_TOKENIZER_MERGED_WITH_PREVIOUS:
        return match && !last;
    case PRE_TOKENIZER_MERGED_WITH_NEXT:
        return last && !match;
    case PRE_TOKENIZER_CONTIGUOUS:
        return last == match;
    default:
        return false;
    }
}

static int flush(struct pending *p)
{
    if (!p->any)
        return 0;
    p->any = false;
    return run_stage(p->run, p->stage + 1, p->text + p->start, p->end - p->start,
                     p->first && p->start == 0);
}

static int add_segment(struct pending *p, size_t start, size_t end, bool match)
{
    const struct pre_tokenizer_stage *stage = &p->run->pre->stages[p->stage];
    match = match != stage->invert;
    if (stage->behavior == PRE_TOKENIZER_REMOVED && match)
        return 0;
    if (p->any && joins(stage->behavior, p->match, match)) {
        p->end = end;
        p->match = match;
        return 0;
    }
    const int r = flush(p);
    p->start = start;
    p->end = end;
    p->match = match;
    p->any = true;
    return r;
}

static size_t char_len(const char *text, size_t len)
{
    size_t n;
    unicode_decode(text, text + len, &n);
    return n;
}

/* Matches as Oniguruma's iterator finds them: an empty one where the last ended is passed over. */
static int run_split(const struct run *run, int32_t i, const char *text, size_t len, bool first)
{
    struct pending pending = { .run = run, .stage = i, .text = text, .first = first };
    struct splitter_match match;
    size_t from = 0, done = 0;
    bool matched = false;
    int r = 0;
    while (r == 0 && from < len &&
           (r = splitter_find(&run->pre->stages[i].splitter, run->work->regex, text, len, from,
                              &match)) > 0) {
        r = 0;
        from = match.end;
        if (match.start == match.end && matched && match.end == done) {
            from += char_len(text + from, len - from);
            continue;
        }
        if (match.start > done)
            r = add_segment(&pending, done, match.start, false);
        if (r == 0)
            r = add_segment(&pending, match.start, match.end, true);
        done = match.end;
        matched = true;
    }
    if (r == 0 && done < len)
        r = add_segment(&pending, done, len, false);
    return r < 0 ? r : flush(&pending);
}

static int run_prefix_space(const struct run *run, int32_t i, const char *text, size_t len,
                            bool first)
{
    struct strbuf *prefixed = &run->work->written[i];
    if (*text == ' ')
        return run_stage(run, i + 1, text, len, first);
    strbuf_reset(prefixed);
    strbuf_append_char(prefixed, ' ');
    strbuf_append(prefixed, text, len);
    return prefixed->failed ? -ENOMEM : run_stage(run, i + 1, prefixed->data, prefixed->len, first);
}

static int run_metaspace(const struct run *run, int32_t i, const char *text, size_t len, bool first)
{
    const struct pre_tokenizer_stage *stage = &run->pre->stages[i];
    struct strbuf *out = &run->work->written[i];
    const char *end = text + len;
    const bool marked =
        *text == ' ' || (len >= stage->mark_len && memcmp(text, stage->mark, stage->mark_len) == 0);
    strbuf_reset(out);
    if (!marked && (stage->prepend == PRE_TOKENIZER_ALWAYS ||
                    (stage->prepend == PRE_TOKENIZER_FIRST && first)))
        strbuf_append(out, stage->mark, stage->mark_len);
    while (text < end) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        strbuf_append(out, text, (size_t)((space != NULL ? space : end) - text));
        if (space != NULL)
            strbuf_append(out, stage->mark, stage->mark_len);
        text = space != NULL ? space + 1 : end;
    }
    return out->failed ? -ENOMEM : run_stage(run, i + 1, out->data, out->len, first);
}

static int run_stage(const struct run *run, int32_t i, const char *text, size_t len, bool first)
{
    if (len == 0)
        return 0;
    if (i == run->pre->num_stages)
        return run->sink(run->context, text, len);
    const struct pre_tokenizer_stage *stage = &run->pre->stages[i];
    if (stage->type == PRE_TOKENIZER_PREFIX_SPACE)
        return run_prefix_space(run, i, text, len, first);
    if (stage->type == PRE_TOKENIZER_METASPACE)
        return run_metaspace(run, i, text, len, first);
    if (stage->behavior == PRE_TOKENIZER_ISOLATED && splitter_covers(&stage->splitter))
        return run_covering(run, i, text, len, first);
    return run_split(run, i, text, len, first);
}

int pre_tokenizer_run(const struct pre_tokenizer *pre, struct pre_tokenizer_work *work,
                      const char *text, size_t len, bool first, pre_tokenizer_sink *sink,
                      void *context)
{
    const struct run run = { pre, work, sink, context };
    return run_stage(&run, 0, text, len, first);
}
