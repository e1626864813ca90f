#include "text/pre_tokenizer.h"

#include <errno.h>
#include <string.h>

#include "text/component.h"
#include "text/regex.h"
#include "text/unicode.h"

struct reading {
    struct pre_tokenizer *pre;
    bool by_hand;
};

static int add_stage(const struct component *c, struct pre_tokenizer *pre,
                     struct pre_tokenizer_stage **ret_stage)
{
    if (pre->byte_level)
        return error_set(c->err, -ENOTSUP,
                         "tokenizer.json: %s stands behind ByteLevel, wanted "
                         "ByteLevel last",
                         c->where);
    if (pre->num_stages == PRE_TOKENIZER_STAGES_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d stages", c->where,
                         PRE_TOKENIZER_STAGES_MAX);
    *ret_stage = &pre->stages[pre->num_stages++];
    return 0;
}

static int read_byte_level(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct pre_tokenizer *pre = reading->pre;
    struct pre_tokenizer_stage *stage = NULL;
    bool add_prefix_space = true, use_regex = true;
    int r = component_bool(c, "add_prefix_space", true, &add_prefix_space);
    if (r == 0)
        r = component_bool(c, "use_regex", true, &use_regex);
    if (r == 0 && add_prefix_space && (r = add_stage(c, pre, &stage)) == 0)
        stage->type = PRE_TOKENIZER_PREFIX_SPACE;
    if (r == 0 && use_regex && (r = add_stage(c, pre, &stage)) == 0)
        r = splitter_init_pattern(&stage->splitter, splitter_gpt2_pattern,
                                  strlen(splitter_gpt2_pattern), reading->by_hand, c->err);
    pre->byte_level = true;
    return r;
}

static int read_digits(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct pre_tokenizer_stage *stage = NULL;
    bool individual = false;
    int r = component_bool(c, "individual_digits", false, &individual);
    if (r == 0)
        r = add_stage(c, reading->pre, &stage);
    if (r < 0)
        return r;
    stage->behavior = individual ? PRE_TOKENIZER_ISOLATED : PRE_TOKENIZER_CONTIGUOUS;
    return splitter_init_pattern(&stage->splitter, "\\p{N}", strlen("\\p{N}"), reading->by_hand,
                                 c->err);
}

static int read_behavior(const struct component *c, struct pre_tokenizer_stage *stage)
{
    static const char *const names[] = {
        [PRE_TOKENIZER_ISOLATED] = "Isolated",
        [PRE_TOKENIZER_REMOVED] = "Removed",
        [PRE_TOKENIZER_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PRE_TOKENIZER_MERGED_WITH_NEXT] = "MergedWithNext",
        [PRE_TOKENIZER_CONTIGUOUS] = "Contiguous",
    };
    json_t *value;
    const int r = component_get(c, "behavior", JSON_STRING, &value);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(json_string_value(value), names[i]) == 0) {
            stage->behavior = (enum pre_tokenizer_behavior)i;
            return 0;
        }
    return error_set(c->err, -ENOTSUP,
                     "tokenizer.json: %s.behavior is \"%.40s\", wanted Isolated, "
                     "Removed, MergedWithPrevious, MergedWithNext or Contiguous",
                     c->where, json_string_value(value));
}

static int read_pattern(const struct component *c, bool by_hand, struct splitter *splitter)
{
    struct component pattern;
    const int r = component_child(c, "pattern", &pattern);
    if (r < 0)
        return r;
    const json_t *regex = json_object_get(pattern.json, "Regex");
    const json_t *literal = json_object_get(pattern.json, "String");
    if (json_is_string(regex))
        return splitter_init_pattern(splitter, json_string_value(regex), json_string_length(regex),
                                     by_hand, c->err);
    if (json_is_string(literal))
        return splitter_init_literal(splitter, json_string_value(literal),
                                     json_string_length(literal));
    return error_set(c->err, -EINVAL, "tokenizer.json: %s holds no text called Regex or String",
                     pattern.where);
}

static int read_split(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct pre_tokenizer_stage *stage = NULL;
    int r = add_stage(c, reading->pre, &stage);
    if (r == 0)
        r = read_behavior(c, stage);
    if (r == 0)
        r = component_bool(c, "invert", false, &stage->invert);
    return r < 0 ? r : read_pattern(c, reading->by_hand, &stage->splitter);
}

static const struct component_row rows[] = {
    { "ByteLevel", read_byte_level },
    { "Split", read_split },
    { "Digits", read_digits },
};

int pre_tokenizer_read(struct pre_tokenizer *pre, const json_t *root, bool by_hand,
                       struct error *err)
{
    struct reading reading = { pre, by_hand };
    return component_read(root, "pre_tokenizer", "pretokenizers", rows,
                          sizeof(rows) / sizeof(rows[0]), &reading, err);
}

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
    strbuf_finish(&work->prefixed);
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

static int run_stage(const struct run *run, int32_t i, const char *text, size_t len);

static int run_covering(const struct run *run, int32_t i, const char *text, size_t len)
{
    const struct splitter *splitter = &run->pre->stages[i].splitter;
    const char *end = text + len;
    int r = 0;
    while (r == 0 && text < end) {
        const char *next = splitter_next(splitter, text, end);
        r = run_stage(run, i + 1, text, (size_t)(next - text));
        text = next;
    }
    return r;
}

/* The piece that is being put together from matches and gaps. */
struct pending {
    const struct run *run;
    int32_t stage;
    const char *text;
    size_t start, end;
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
    return run_stage(p->run, p->stage + 1, p->text + p->start, p->end - p->start);
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
static int run_split(const struct run *run, int32_t i, const char *text, size_t len)
{
    struct pending pending = { .run = run, .stage = i, .text = text };
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

static int run_prefix_space(const struct run *run, int32_t i, const char *text, size_t len)
{
    struct strbuf *prefixed = &run->work->prefixed;
    if (*text == ' ')
        return run_stage(run, i + 1, text, len);
    strbuf_reset(prefixed);
    strbuf_append_char(prefixed, ' ');
    strbuf_append(prefixed, text, len);
    return prefixed->failed ? -ENOMEM : run_stage(run, i + 1, prefixed->data, prefixed->len);
}

static int run_stage(const struct run *run, int32_t i, const char *text, size_t len)
{
    if (len == 0)
        return 0;
    if (i == run->pre->num_stages)
        return run->sink(run->context, text, len);
    const struct pre_tokenizer_stage *stage = &run->pre->stages[i];
    if (stage->type == PRE_TOKENIZER_PREFIX_SPACE)
        return run_prefix_space(run, i, text, len);
    if (stage->behavior == PRE_TOKENIZER_ISOLATED && splitter_covers(&stage->splitter))
        return run_covering(run, i, text, len);
    return run_split(run, i, text, len);
}

int pre_tokenizer_run(const struct pre_tokenizer *pre, struct pre_tokenizer_work *work,
                      const char *text, size_t len, pre_tokenizer_sink *sink, void *context)
{
    const struct run run = { pre, work, sink, context };
    return run_stage(&run, 0, text, len);
}
