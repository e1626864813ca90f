/* The reading half of pre_tokenizer.h: components to stages. */
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/component.h"
#include "text/pre_tokenizer.h"

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
    json_t *value = NULL;
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

static int read_split(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct pre_tokenizer_stage *stage = NULL;
    int r = add_stage(c, reading->pre, &stage);
    if (r == 0)
        r = read_behavior(c, stage);
    if (r == 0)
        r = component_bool(c, "invert", false, &stage->invert);
    return r < 0 ? r : splitter_read(c, reading->by_hand, &stage->splitter);
}

static int add_of_type(const struct component *c, void *target, enum splitter_type type,
                       enum pre_tokenizer_behavior behavior, struct pre_tokenizer_stage **ret_stage)
{
    const struct reading *reading = target;
    const int r = add_stage(c, reading->pre, ret_stage);
    if (r < 0)
        return r;
    (*ret_stage)->behavior = behavior;
    splitter_init_type(&(*ret_stage)->splitter, type);
    return 0;
}

static int read_whitespace(const struct component *c, void *target)
{
    struct pre_tokenizer_stage *stage = NULL;
    const int r = add_of_type(c, target, SPLITTER_WORDS, PRE_TOKENIZER_REMOVED, &stage);
    if (r == 0)
        stage->invert = true;
    return r;
}

static int read_whitespace_split(const struct component *c, void *target)
{
    struct pre_tokenizer_stage *stage = NULL;
    return add_of_type(c, target, SPLITTER_SPACE, PRE_TOKENIZER_REMOVED, &stage);
}

static int read_punctuation(const struct component *c, void *target)
{
    struct pre_tokenizer_stage *stage = NULL;
    const int r = add_of_type(c, target, SPLITTER_PUNCTUATION, PRE_TOKENIZER_ISOLATED, &stage);
    return r < 0 || json_object_get(c->json, "behavior") == NULL ? r : read_behavior(c, stage);
}

static int read_scheme(const struct component *c, struct pre_tokenizer_stage *stage)
{
    static const char *const names[] = {
        [PRE_TOKENIZER_ALWAYS] = "always",
        [PRE_TOKENIZER_FIRST] = "first",
        [PRE_TOKENIZER_NEVER] = "never",
    };
    const json_t *scheme = json_object_get(c->json, "prepend_scheme");
    bool prefix = true;
    const int r = component_bool(c, "add_prefix_space", true, &prefix);
    if (r < 0)
        return r;
    stage->prepend = prefix ? PRE_TOKENIZER_ALWAYS : PRE_TOKENIZER_NEVER; /* older files */
    for (size_t i = 0; json_is_string(scheme) && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(json_string_value(scheme), names[i]) == 0) {
            stage->prepend = (enum pre_tokenizer_prepend)i;
            return 0;
        }
    return scheme == NULL ? 0
                          : error_set(c->err, -EINVAL,
                                      "tokenizer.json: %s.prepend_scheme is none of always, first, "
                                      "never",
                                      c->where);
}

static int read_mark(const struct component *c, struct pre_tokenizer_stage *stage)
{
    json_t *mark;
    uint32_t codepoint;
    const int r = component_get(c, "replacement", JSON_STRING, &mark);
    if (r < 0)
        return r;
    const size_t len = json_string_length(mark);
    if (len == 0 || utf8_decode(json_string_value(mark), len, &codepoint) != (int)len)
        return error_set(c->err, -EINVAL,
                         "tokenizer.json: %s.replacement is \"%.40s\", wanted one character",
                         c->where, json_string_value(mark));
    memcpy(stage->mark, json_string_value(mark), len);
    stage->mark_len = len;
    return 0;
}

/* One stage writes the marks, another cuts in front of each. */
static int read_metaspace(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct pre_tokenizer_stage *writer = NULL, *cutter = NULL;
    bool split = true;
    int r = add_stage(c, reading->pre, &writer);
    if (r < 0)
        return r;
    writer->type = PRE_TOKENIZER_METASPACE;
    r = read_mark(c, writer);
    if (r == 0)
        r = read_scheme(c, writer);
    if (r == 0)
        r = component_bool(c, "split", true, &split);
    if (r < 0 || !split)
        return r;
    r = add_stage(c, reading->pre, &cutter);
    if (r < 0)
        return r;
    cutter->behavior = PRE_TOKENIZER_MERGED_WITH_NEXT;
    return splitter_init_literal(&cutter->splitter, writer->mark, writer->mark_len);
}

static const struct component_row rows[] = {
    { "ByteLevel", read_byte_level },  { "Split", read_split },
    { "Digits", read_digits },         { "Punctuation", read_punctuation },
    { "Whitespace", read_whitespace }, { "WhitespaceSplit", read_whitespace_split },
    { "Metaspace", read_metaspace },
};

int pre_tokenizer_read(struct pre_tokenizer *pre, const json_t *root, bool by_hand,
                       struct error *err)
{
    struct reading reading = { pre, by_hand };
    return component_read(root, "pre_tokenizer", "pretokenizers", rows,
                          sizeof(rows) / sizeof(rows[0]), &reading, err);
}
