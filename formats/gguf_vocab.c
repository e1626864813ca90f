#include "formats/gguf_vocab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_pre.h"

enum { MAX_EOS = 3 };

struct token {
    const char *text;
    size_t len;
    enum gguf_token_type type;
    float score;
    bool has_score;
};

struct maker {
    struct gguf_writer *writer;
    const struct gguf_vocab *from;
    const json_t *model, *vocab; /* of tokenizer.json */
    struct token *tokens;        /* [vocab_size]; text NULL: no token has the id */
    bool is_spm;
    struct error *err;
};

/* --- tokens -------------------------------------------------------------------------------- */

static int set_token(struct maker *m, json_int_t id, const char *text, size_t len,
                     enum gguf_token_type type)
{
    if (id < 0 || id >= m->from->vocab_size)
        return error_set(m->err, -EINVAL,
                         "tokenizer.json: id %lld of \"%.*s\" is not below the %d rows of the "
                         "embedding",
                         (long long)id, (int)(len < 40 ? len : 40), text, m->from->vocab_size);
    m->tokens[id] = (struct token){ .text = text, .len = len, .type = type };
    return 0;
}

/* "<0x0A>" */
static bool is_byte(const char *text, size_t len)
{
    return len == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

static int take_vocab(struct maker *m)
{
    const char *unk = json_string_value(json_object_get(m->model, "unk_token"));
    const char *text;
    json_t *id;
    int r = 0;
    json_object_foreach((json_t *)m->vocab, text, id)
    {
        const size_t len = strlen(text);
        const enum gguf_token_type type = m->is_spm && is_byte(text, len) ? GGUF_TOKEN_BYTE
                                          : unk != NULL && strcmp(unk, text) == 0
                                              ? GGUF_TOKEN_UNKNOWN
                                              : GGUF_TOKEN_NORMAL;
        if (!json_is_integer(id))
            return error_set(m->err, -EINVAL, "tokenizer.json: the id of \"%.40s\" is no integer",
                             text);
        r = set_token(m, json_integer_value(id), text, len, type);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_added(struct maker *m)
{
    const json_t *added = json_object_get(m->from->tokenizer, "added_tokens");
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const json_t *id = json_object_get(token, "id"), *text = json_object_get(token, "content");
        if (!json_is_integer(id) || !json_is_string(text))
            return error_set(m->err, -EINVAL, "tokenizer.json: added_tokens[%zu] has no id or text",
                             i);
        const json_int_t at = json_integer_value(id);
        const bool is_unknown =
            at >= 0 && at < m->from->vocab_size && m->tokens[at].type == GGUF_TOKEN_UNKNOWN;
        const bool is_special = json_is_true(json_object_get(token, "special"));
        r = set_token(m, at, json_string_value(text), json_string_length(text),
                      is_unknown   ? GGUF_TOKEN_UNKNOWN
                      : is_special ? GGUF_TOKEN_CONTROL
                                   : GGUF_TOKEN_USER_DEFINED);
    }
    return r;
}

/* The two parts of a merge, in either of its spellings; false for what is none. */
static bool read_merge(const json_t *merge, struct strbuf *joined, struct strbuf *line)
{
    const char *text = json_string_value(merge), *gap = text != NULL ? strchr(text, ' ') : NULL;
    const char *first = json_string_value(json_array_get(merge, 0));
    const char *second = json_string_value(json_array_get(merge, 1));
    strbuf_reset(joined);
    strbuf_reset(line);
    if (gap != NULL) {
        strbuf_append(joined, text, (size_t)(gap - text));
        strbuf_append_text(joined, gap + 1);
        strbuf_append_text(line, text);
    } else if (first != NULL && second != NULL) {
        strbuf_printf(joined, "%s%s", first, second);
        strbuf_printf(line, "%s %s", first, second);
    }
    return line->len > 0;
}

/* Each merge's line into the file, or its place as the score of what it makes. */
static int take_merges(struct maker *m)
{
    const json_t *merges = json_object_get(m->model, "merges");
    struct strbuf joined = { 0 }, line = { 0 };
    const size_t num = json_array_size(merges);
    int r = 0;
    if (!m->is_spm)
        gguf_put_array(m->writer, "tokenizer.ggml.merges", GGUF_STRING, num);
    for (size_t i = 0; r == 0 && i < num; i++) {
        if (!read_merge(json_array_get(merges, i), &joined, &line)) {
            r = error_set(m->err, -EINVAL, "tokenizer.json: merges[%zu] is no pair", i);
            break;
        }
        if (!m->is_spm) {
            gguf_add_text(m->writer, line.data, line.len);
            continue;
        }
        const json_t *id = json_object_get(m->vocab, joined.data);
        if (id != NULL && !m->tokens[json_integer_value(id)].has_score) {
            m->tokens[json_integer_value(id)].score = -(float)i;
            m->tokens[json_integer_value(id)].has_score = true;
        }
    }
    strbuf_finish(&joined);
    strbuf_finish(&line);
    return r;
}

static void put_tokens(struct maker *m)
{
    const int32_t num = m->from->vocab_size;
    gguf_put_array(m->writer, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)num);
    for (int32_t i = 0; i < num; i++) {
        char filler[32];
        snprintf(filler, sizeof(filler), "[PAD%d]", i);
        if (m->tokens[i].text != NULL)
            gguf_add_text(m->writer, m->tokens[i].text, m->tokens[i].len);
        else
            gguf_add_text(m->writer, filler, strlen(filler));
    }
    gguf_put_array(m->writer, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)num);
    for (int32_t i = 0; i < num; i++)
        gguf_add_i32(m->writer,
                     m->tokens[i].text != NULL ? (int32_t)m->tokens[i].type : GGUF_TOKEN_UNUSED);
}

/* What no merge makes comes after all that one does. */
static void put_scores(struct maker *m)
{
    const size_t merges = json_array_size(json_object_get(m->model, "merges"));
    const int32_t num = m->from->vocab_size;
    gguf_put_array(m->writer, "tokenizer.ggml.scores", GGUF_F32, (uint64_t)num);
    for (int32_t i = 0; i < num; i++) {
        const struct token *t = &m->tokens[i];
        gguf_add_f32(m->writer, t->has_score                      ? t->score
                                : t->text != NULL && t->type == 1 ? -(float)merges - (float)i
                                                                  : 0.0f);
    }
}

/* --- cutting ------------------------------------------------------------------------------- */

static const char *type_of(const json_t *component)
{
    const char *type = json_string_value(json_object_get(component, "type"));
    return type != NULL ? type : "";
}

/* One part of the pre-tokenizer into a style; false for what no style has. */
static bool add_part(const json_t *part, struct gguf_pre_style *style, int *num)
{
    const char *type = type_of(part);
    const char *pattern =
        json_string_value(json_object_get(json_object_get(part, "pattern"), "Regex"));
    if (strcmp(type, "Digits") == 0) {
        if (!json_is_true(json_object_get(part, "individual_digits")))
            return false;
        pattern = GGUF_PRE_DIGITS;
    } else if (strcmp(type, "ByteLevel") == 0) {
        if (json_is_true(json_object_get(part, "add_prefix_space")))
            return false;
        if (json_is_false(json_object_get(part, "use_regex")))
            return true;
        pattern = gguf_pre_gpt2();
    } else if (strcmp(type, "Split") != 0) {
        return false;
    }
    if (pattern == NULL || *num == GGUF_PRE_PATTERNS)
        return false;
    style->patterns[(*num)++] = pattern;
    return true;
}

static bool is_nothing(const json_t *normalizer)
{
    return normalizer == NULL || json_is_null(normalizer) ||
           (strcmp(type_of(normalizer), "Sequence") == 0 &&
            json_array_size(json_object_get(normalizer, "normalizers")) == 0);
}

static int put_pre(struct maker *m)
{
    const json_t *pre = json_object_get(m->from->tokenizer, "pre_tokenizer");
    const json_t *parts = json_object_get(pre, "pretokenizers");
    const json_t *normalizer = json_object_get(m->from->tokenizer, "normalizer");
    const bool nfc = strcmp(type_of(normalizer), "NFC") == 0;
    struct gguf_pre_style style = { 0 };
    int num = 0;
    bool is_known = nfc || is_nothing(normalizer);
    for (size_t i = 0; i < json_array_size(parts); i++)
        is_known = is_known && add_part(json_array_get(parts, i), &style, &num);
    if (parts == NULL)
        is_known = is_known && add_part(pre, &style, &num);
    const struct gguf_pre *row =
        is_known
            ? gguf_pre_match(&style, json_is_true(json_object_get(m->model, "ignore_merges")), nfc)
            : NULL;
    if (row == NULL)
        return error_set(m->err, -ENOTSUP,
                         "tokenizer.json: the pre_tokenizer and normalizer cut text in a way that "
                         "has no name in GGUF");
    gguf_put_text(m->writer, "tokenizer.ggml.pre", row->name, strlen(row->name));
    return 0;
}

/* Is there a space in front of each text? */
static bool has_prefix(const json_t *component)
{
    const char *type = type_of(component);
    const char *scheme = json_string_value(json_object_get(component, "prepend_scheme"));
    const json_t *parts = json_object_get(component, "normalizers");
    bool prefix = strcmp(type, "Prepend") == 0;
    if (strcmp(type, "Metaspace") == 0)
        prefix = scheme != NULL ? strcmp(scheme, "never") != 0
                                : !json_is_false(json_object_get(component, "add_prefix_space"));
    if (parts == NULL)
        parts = json_object_get(component, "pretokenizers");
    for (size_t i = 0; i < json_array_size(parts); i++)
        prefix = prefix || has_prefix(json_array_get(parts, i));
    return prefix;
}

/* --- ids ----------------------------------------------------------------------------------- */

/* The id of a token named in tokenizer_config.json: a text, or an object with one; -1. */
static json_int_t id_of(const struct maker *m, const char *key)
{
    const json_t *named = json_object_get(m->from->settings, key);
    const char *text =
        json_string_value(json_is_object(named) ? json_object_get(named, "content") : named);
    for (int32_t i = 0; text != NULL && i < m->from->vocab_size; i++)
        if (m->tokens[i].text != NULL && strcmp(m->tokens[i].text, text) == 0)
            return i;
    return -1;
}

static json_int_t number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
    return json_is_integer(first) ? json_integer_value(first) : -1;
}

static void put_id(struct maker *m, const char *key, json_int_t id)
{
    if (id >= 0 && id < m->from->vocab_size)
        gguf_put_u32(m->writer, key, (uint32_t)id);
}

/* Each id that ends a text once, the one that the tokenizer names first. */
static void put_ends(struct maker *m)
{
    static const char *const keys[MAX_EOS] = { "tokenizer.ggml.eos_token_id",
                                               "tokenizer.ggml.eot_token_id",
                                               "tokenizer.ggml.eom_token_id" };
    const json_t *list = json_object_get(m->from->generation, "eos_token_id");
    json_int_t ids[MAX_EOS] = { id_of(m, "eos_token") };
    int num = ids[0] >= 0 ? 1 : 0;
    if (!json_is_array(list) && number_of(m->from->generation, "eos_token_id") < 0)
        list = json_object_get(m->from->config, "eos_token_id");
    const size_t size = json_is_array(list) ? json_array_size(list) : 1;
    for (size_t i = 0; i < size && num < MAX_EOS; i++) {
        const json_t *value = json_is_array(list) ? json_array_get(list, i) : list;
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        bool is_new = id >= 0;
        for (int k = 0; k < num; k++)
            is_new = is_new && ids[k] != id;
        if (is_new)
            ids[num++] = id;
    }
    for (int i = 0; i < num; i++)
        put_id(m, keys[i], ids[i]);
}

static void put_ids(struct maker *m)
{
    static const char *const names[][2] = { { "bos_token", "bos_token_id" },
                                            { "unk_token", "unknown_token_id" },
                                            { "pad_token", "padding_token_id" } };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char key[64], config_key[64];
        json_int_t id = id_of(m, names[i][0]);
        snprintf(key, sizeof(key), "tokenizer.ggml.%s", names[i][1]);
        snprintf(config_key, sizeof(config_key), "%s_id", names[i][0]);
        put_id(m, key, id >= 0 ? id : number_of(m->from->config, config_key));
    }
    put_ends(m);
}

/* --- around a text ------------------------------------------------------------------------- */

/* The template of the post-processor, also where it is one of several. */
static const json_t *find_template(const json_t *post)
{
    const json_t *list = json_object_get(post, "processors");
    const json_t *found =
        strcmp(type_of(post), "TemplateProcessing") == 0 ? json_object_get(post, "single") : NULL;
    for (size_t i = 0; found == NULL && i < json_array_size(list); i++)
        found = find_template(json_array_get(list, i));
    return found;
}

static void put_surroundings(struct maker *m)
{
    const json_t *single = find_template(json_object_get(m->from->tokenizer, "post_processor"));
    const size_t num = json_array_size(single);
    const json_t *first = json_array_get(single, 0);
    const json_t *last = num > 0 ? json_array_get(single, num - 1) : NULL;
    gguf_put_bool(m->writer, "tokenizer.ggml.add_bos_token",
                  json_object_get(first, "SpecialToken") != NULL);
    gguf_put_bool(m->writer, "tokenizer.ggml.add_eos_token",
                  num > 1 && json_object_get(last, "SpecialToken") != NULL);
    if (m->is_spm)
        gguf_put_bool(m->writer, "tokenizer.ggml.add_space_prefix",
                      has_prefix(json_object_get(m->from->tokenizer, "normalizer")) ||
                          has_prefix(json_object_get(m->from->tokenizer, "pre_tokenizer")));
}

/* One text, or several by name. */
static void put_template(struct maker *m)
{
    static const char key[] = "tokenizer.chat_template";
    const json_t *text = json_object_get(m->from->settings, "chat_template");
    for (size_t i = 0; json_is_array(text) && i < json_array_size(text); i++) {
        const json_t *one = json_array_get(text, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            text = json_object_get(one, "template");
    }
    if (m->from->template != NULL)
        gguf_put_text(m->writer, key, m->from->template, m->from->template_len);
    else if (json_is_string(text))
        gguf_put_text(m->writer, key, json_string_value(text), json_string_length(text));
}

/* --- the whole ----------------------------------------------------------------------------- */

static int put_all(struct maker *m)
{
    const char *name = m->is_spm ? "llama" : "gpt2";
    int r = take_vocab(m);
    if (r == 0)
        r = take_added(m);
    if (r < 0)
        return r;
    gguf_put_text(m->writer, "tokenizer.ggml.model", name, strlen(name));
    r = m->is_spm ? 0 : put_pre(m);
    if (r == 0)
        put_tokens(m);
    if (r == 0)
        r = take_merges(m);
    if (r < 0)
        return r;
    if (m->is_spm)
        put_scores(m);
    put_ids(m);
    put_surroundings(m);
    put_template(m);
    return 0;
}

int gguf_vocab_put(struct gguf_writer *writer, const struct gguf_vocab *vocab, struct error *err)
{
    const json_t *model = json_object_get(vocab->tokenizer, "model");
    struct maker m = { .writer = writer,
                       .from = vocab,
                       .model = model,
                       .vocab = json_object_get(model, "vocab"),
                       .is_spm = json_is_true(json_object_get(model, "byte_fallback")),
                       .err = err };
    const char *type = type_of(model);
    if ((type[0] != '\0' && strcmp(type, "BPE") != 0) || !json_is_object(m.vocab))
        return error_set(err, -ENOTSUP,
                         "tokenizer.json: the model is \"%.40s\", in GGUF only BPE has a place",
                         type);
    m.tokens = calloc((size_t)vocab->vocab_size, sizeof(*m.tokens));
    if (m.tokens == NULL)
        return error_set(err, -ENOMEM, "no memory for %d tokens", vocab->vocab_size);
    const int r = put_all(&m);
    free(m.tokens);
    return r;
}
