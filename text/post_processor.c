#include "text/post_processor.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "text/component.h"

struct reading {
    struct post_processor *post;
    const struct vocab *vocab;
};

/* The ids of one template, in its order. */
struct template_ids {
    int32_t before[POST_PROCESSOR_IDS_MAX], behind[POST_PROCESSOR_IDS_MAX];
    int32_t num_before, num_behind;
    bool text_seen;
};

static int add_id(const struct component *c, struct template_ids *ids, int32_t id)
{
    int32_t *list = ids->text_seen ? ids->behind : ids->before;
    int32_t *num = ids->text_seen ? &ids->num_behind : &ids->num_before;
    if (*num == POST_PROCESSOR_IDS_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d ids on one side",
                         c->where, POST_PROCESSOR_IDS_MAX);
    list[(*num)++] = id;
    return 0;
}

/* {"SpecialToken": {"id": NAME}} stands for special_tokens.NAME.ids. */
static int read_special(const struct component *c, const struct component *special,
                        const struct vocab *vocab, struct template_ids *ids)
{
    struct component all, token;
    json_t *name, *list;
    int r = component_get(special, "id", JSON_STRING, &name);
    if (r == 0)
        r = component_child(c, "special_tokens", &all);
    if (r == 0)
        r = component_child(&all, json_string_value(name), &token);
    if (r == 0)
        r = component_get(&token, "ids", JSON_ARRAY, &list);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!vocab_has(vocab, json_is_integer(id) ? json_integer_value(id) : -1))
            return error_set(c->err, -EINVAL, "tokenizer.json: %s.ids[%zu] is no token's id",
                             token.where, i);
        r = add_id(c, ids, (int32_t)json_integer_value(id));
    }
    return r;
}

static int read_text(const struct component *sequence, struct template_ids *ids)
{
    json_t *name;
    const int r = component_get(sequence, "id", JSON_STRING, &name);
    if (r < 0)
        return r;
    if (strcmp(json_string_value(name), "A") != 0 || ids->text_seen)
        return error_set(sequence->err, -EINVAL,
                         "tokenizer.json: %s.id is \"%.20s\", wanted \"A\", "
                         "once",
                         sequence->where, json_string_value(name));
    ids->text_seen = true;
    return 0;
}

static int read_item(const struct component *c, const struct component *item,
                     const struct vocab *vocab, struct template_ids *ids)
{
    struct component part;
    int r;
    if (json_object_get(item->json, "Sequence") != NULL) {
        r = component_child(item, "Sequence", &part);
        return r < 0 ? r : read_text(&part, ids);
    }
    r = component_child(item, "SpecialToken", &part);
    return r < 0 ? r : read_special(c, &part, vocab, ids);
}

/* A later template stands around an earlier one. */
static int surround(const struct component *c, struct post_processor *post,
                    const struct template_ids *ids)
{
    if (post->num_before + ids->num_before > POST_PROCESSOR_IDS_MAX ||
        post->num_behind + ids->num_behind > POST_PROCESSOR_IDS_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d ids on one side",
                         c->where, POST_PROCESSOR_IDS_MAX);
    memmove(post->before + ids->num_before, post->before,
            (size_t)post->num_before * sizeof(*post->before));
    memcpy(post->before, ids->before, (size_t)ids->num_before * sizeof(*post->before));
    memcpy(post->behind + post->num_behind, ids->behind,
           (size_t)ids->num_behind * sizeof(*post->behind));
    post->num_before += ids->num_before;
    post->num_behind += ids->num_behind;
    return 0;
}

static int read_template(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct template_ids ids = { 0 };
    struct component item;
    json_t *single;
    int r = component_get(c, "single", JSON_ARRAY, &single);
    for (size_t i = 0; r == 0 && i < json_array_size(single); i++) {
        r = component_member(c, "single", single, i, &item);
        if (r == 0)
            r = read_item(c, &item, reading->vocab, &ids);
    }
    if (r < 0)
        return r;
    if (!ids.text_seen)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s.single holds no Sequence \"A\"",
                         c->where);
    return surround(c, reading->post, &ids);
}

static int read_byte_level(const struct component *c, void *target)
{
    (void)c;
    (void)target;
    return 0;
}

/* {"sep": [TEXT, ID], "cls": [TEXT, ID]}: cls in front, sep behind. */
static int read_pair(const struct component *c, const char *key, const struct vocab *vocab,
                     int32_t *ret_id)
{
    json_t *pair;
    const int r = component_get(c, key, JSON_ARRAY, &pair);
    const json_t *id = r == 0 ? json_array_get(pair, 1) : NULL;
    if (r == 0 && !vocab_has(vocab, json_is_integer(id) ? json_integer_value(id) : -1))
        return error_set(c->err, -EINVAL, "tokenizer.json: %s.%s[1] is no token's id", c->where,
                         key);
    *ret_id = r == 0 ? (int32_t)json_integer_value(id) : -1;
    return r;
}

static int read_bert(const struct component *c, void *target)
{
    const struct reading *reading = target;
    struct template_ids ids = { .num_before = 1, .num_behind = 1, .text_seen = true };
    int r = read_pair(c, "cls", reading->vocab, &ids.before[0]);
    if (r == 0)
        r = read_pair(c, "sep", reading->vocab, &ids.behind[0]);
    return r < 0 ? r : surround(c, reading->post, &ids);
}

static const struct component_row rows[] = {
    { "TemplateProcessing", read_template },
    { "RobertaProcessing", read_bert },
    { "BertProcessing", read_bert },
    { "ByteLevel", read_byte_level },
};

int post_processor_read(struct post_processor *post, const json_t *root, const struct vocab *vocab,
                        struct error *err)
{
    struct reading reading = { post, vocab };
    return component_read(root, "post_processor", "processors", rows,
                          sizeof(rows) / sizeof(rows[0]), &reading, err);
}
