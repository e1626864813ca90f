/* tokenizer.json from metadata: the vocabulary as it stands, the rest from a row per pre-tokenizer.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_merges.h"
#include "formats/gguf_model.h"
#include "formats/gguf_pre.h"
#include "formats/gguf_value.h"

enum { MAX_TOKEN_BYTES = 65536 };

struct maker {
    const struct gguf *gguf;
    struct error *err;
    const struct gguf_value *tokens, *types, *scores;
    bool is_spm;
    const struct gguf_pre *pre; /* NULL where is_spm */
    json_t *vocab, *added;
};

static int find_pre(struct maker *m)
{
    const char *name = "";
    size_t len = 0;
    const int r = gguf_text(m->gguf, "tokenizer.ggml.pre", &name, &len, m->err);
    m->pre = r > 0 ? gguf_pre_find(name, len) : NULL;
    if (m->pre != NULL)
        return 0;
    return r < 0 ? r
                 : error_set(m->err, -ENOTSUP,
                             "tokenizer.ggml.pre is \"%.*s\", which is not known: how text is cut "
                             "before merging cannot be guessed",
                             (int)(len < 60 ? len : 60), name);
}

static int find_model(struct maker *m)
{
    const char *name = "";
    size_t len = 0;
    const int r = gguf_text(m->gguf, "tokenizer.ggml.model", &name, &len, m->err);
    if (r < 0)
        return r;
    m->is_spm = len == 5 && memcmp(name, "llama", 5) == 0;
    if (m->is_spm)
        return 0;
    if (len == 4 && memcmp(name, "gpt2", 4) == 0)
        return find_pre(m);
    return error_set(m->err, -ENOTSUP,
                     "tokenizer.ggml.model is \"%.*s\", supported are gpt2 and llama",
                     (int)(len < 40 ? len : 40), name);
}

static int find_array(struct maker *m, const char *key, bool required, bool strings,
                      const struct gguf_value **ret)
{
    const struct gguf_value *value = gguf_find(m->gguf, key);
    if (value == NULL)
        return required ? error_set(m->err, -EINVAL, "%s is missing", key) : 0;
    if (!value->is_array || (value->type == GGUF_STRING) != strings)
        return error_set(m->err, -EINVAL, "%s is no array of %s", key,
                         strings ? "strings" : "numbers");
    if (m->tokens != NULL && strcmp(key, "tokenizer.ggml.merges") != 0 &&
        value->num != m->tokens->num)
        return error_set(m->err, -EINVAL,
                         "%s has %" PRIu64 " entries, wanted one for each of %" PRIu64 " tokens",
                         key, value->num, m->tokens->num);
    *ret = value;
    return 0;
}

static json_t *make_text(struct maker *m, const char *text, size_t len, uint64_t id, int *ret)
{
    /* A NUL cannot stand in a key of JSON; no vocabulary has one but as a byte token. */
    json_t *value =
        len <= MAX_TOKEN_BYTES && memchr(text, '\0', len) == NULL ? json_stringn(text, len) : NULL;
    if (value == NULL)
        *ret = error_set(m->err, -EINVAL,
                         "tokenizer.ggml.tokens: token %" PRIu64
                         " of %zu bytes is no UTF-8, holds a NUL, or is longer than %d bytes",
                         id, len, MAX_TOKEN_BYTES);
    return value;
}

/* Added tokens are found in text before anything else is done with it. */
static int add_token(struct maker *m, uint64_t id, const char *text, size_t len, bool is_special)
{
    int r = 0;
    json_t *content = make_text(m, text, len, id, &r);
    if (content == NULL)
        return r;
    if (len == 0) {
        json_decref(content);
        return 0;
    }
    json_t *token = json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id,
                              "content", content, "single_word", 0, "lstrip", 0, "rstrip", 0,
                              "normalized", 0, "special", is_special);
    if (token == NULL || json_array_append_new(m->added, token) < 0)
        return error_set(m->err, -ENOMEM, "no memory for tokens");
    return 0;
}

static int add_piece(struct maker *m, uint64_t id, const char *text, size_t len)
{
    int r = 0;
    if (json_object_getn(m->vocab, text, len) != NULL) /* the first of equals holds */
        return 0;
    json_t *check = make_text(m, text, len, id, &r);
    if (check == NULL)
        return r;
    json_decref(check);
    return json_object_setn_new(m->vocab, text, len, json_integer((json_int_t)id)) == 0
               ? 0
               : error_set(m->err, -ENOMEM, "no memory for tokens");
}

static int add_entry(struct maker *m, uint64_t id, const char *text, size_t len)
{
    int64_t type = GGUF_TOKEN_NORMAL;
    if (m->types != NULL && !gguf_value_int(m->types, id, &type))
        type = GGUF_TOKEN_NORMAL;
    int r = 0;
    if (type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_USER_DEFINED || type == GGUF_TOKEN_UNKNOWN)
        r = add_token(m, id, text, len, type != GGUF_TOKEN_USER_DEFINED);
    if (r == 0 &&
        (type == GGUF_TOKEN_NORMAL || type == GGUF_TOKEN_UNKNOWN || type == GGUF_TOKEN_BYTE))
        r = add_piece(m, id, text, len);
    return r;
}

static int add_entries(struct maker *m)
{
    const unsigned char *at = m->tokens->at;
    const char *text;
    size_t len;
    int r = 0;
    for (uint64_t id = 0; r == 0 && gguf_value_next(m->tokens, &at, &text, &len); id++)
        r = add_entry(m, id, text, len);
    return r;
}

static int read_arrays(struct maker *m)
{
    int r = find_array(m, "tokenizer.ggml.tokens", true, true, &m->tokens);
    if (r == 0)
        r = find_array(m, "tokenizer.ggml.token_type", false, false, &m->types);
    if (r == 0)
        r = find_array(m, "tokenizer.ggml.scores", m->is_spm, false, &m->scores);
    return r < 0 ? r : add_entries(m);
}

/* --- parts -------------------------------------------------------------------------------- */

static json_t *make_split(const char *pattern)
{
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern,
                     "behavior", "Isolated", "invert", 0);
}

static json_t *make_digits(void)
{
    return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
}

static json_t *make_byte_level(void)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 0, "use_regex", 0);
}

static json_t *make_pre_tokenizer(const struct gguf_pre_style *style)
{
    json_t *list = json_array();
    for (int i = 0; i < GGUF_PRE_PATTERNS && style->patterns[i] != NULL; i++)
        json_array_append_new(list, strcmp(style->patterns[i], GGUF_PRE_DIGITS) == 0
                                        ? make_digits()
                                        : make_split(style->patterns[i]));
    json_array_append_new(list, make_byte_level());
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *make_replace(const char *from, const char *to)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content",
                     to);
}

static json_t *make_spm_normalizer(bool prefix)
{
    json_t *list = json_array();
    if (prefix)
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "type", "Prepend", "prepend", "\u2581"));
    json_array_append_new(list, make_replace(" ", "\u2581"));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *make_spm_decoder(bool prefix)
{
    json_t *list = json_array();
    json_array_append_new(list, make_replace("\u2581", " "));
    json_array_append_new(list, json_pack("{s:s}", "type", "ByteFallback"));
    json_array_append_new(list, json_pack("{s:s}", "type", "Fuse"));
    if (prefix)
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                              " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

/* The text of a token that a key names; NULL when the key is absent or no such token is there. */
static json_t *token_of(const struct gguf *gguf, const char *key)
{
    const struct gguf_value *tokens = gguf_find(gguf, "tokenizer.ggml.tokens");
    int64_t wanted = -1;
    if (tokens == NULL || gguf_int(gguf, key, 0, INT32_MAX, &wanted, NULL) <= 0)
        return NULL;
    const unsigned char *at = tokens->at;
    const char *text;
    size_t len;
    for (int64_t id = 0; gguf_value_next(tokens, &at, &text, &len); id++)
        if (id == wanted)
            return json_stringn(text, len);
    return NULL;
}

static int64_t id_of(const struct gguf *gguf, const char *key)
{
    int64_t id = -1;
    return gguf_int(gguf, key, 0, INT32_MAX, &id, NULL) > 0 ? id : -1;
}

static void add_special(json_t *single, json_t *specials, json_t *text, int64_t id)
{
    json_array_append_new(single,
                          json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", text, "type_id", 0));
    json_object_set_new(
        specials, json_string_value(text),
        json_pack("{s:O, s:[I], s:[O]}", "id", text, "ids", (json_int_t)id, "tokens", text));
}

/* What stands before and behind a text. */
static json_t *make_post_processor(struct maker *m)
{
    bool add_bos = m->is_spm || m->pre->add_bos, add_eos = false;
    gguf_bool(m->gguf, "tokenizer.ggml.add_bos_token", &add_bos, NULL);
    gguf_bool(m->gguf, "tokenizer.ggml.add_eos_token", &add_eos, NULL);
    json_t *bos = add_bos ? token_of(m->gguf, "tokenizer.ggml.bos_token_id") : NULL;
    json_t *eos = add_eos ? token_of(m->gguf, "tokenizer.ggml.eos_token_id") : NULL;
    json_t *single = json_array(), *specials = json_object();
    if (bos != NULL)
        add_special(single, specials, bos, id_of(m->gguf, "tokenizer.ggml.bos_token_id"));
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    if (eos != NULL)
        add_special(single, specials, eos, id_of(m->gguf, "tokenizer.ggml.eos_token_id"));
    const bool none = bos == NULL && eos == NULL;
    json_decref(bos);
    json_decref(eos);
    json_t *post = json_pack("{s:s, s:o, s:[], s:o}", "type", "TemplateProcessing", "single",
                             single, "pair", "special_tokens", specials);
    if (!none)
        return post;
    json_decref(post);
    return json_null();
}

/* "a b" lines as they stand. */
static int copy_merges(struct maker *m, json_t *merges)
{
    const struct gguf_value *value = NULL;
    int r = find_array(m, "tokenizer.ggml.merges", true, true, &value);
    if (r < 0)
        return r;
    const unsigned char *at = value->at;
    const char *text;
    size_t len;
    for (uint64_t i = 0; r == 0 && gguf_value_next(value, &at, &text, &len); i++)
        if (json_array_append_new(merges, json_stringn(text, len)) < 0)
            r = error_set(m->err, -EINVAL, "tokenizer.ggml.merges: line %" PRIu64 " is no UTF-8",
                          i);
    return r;
}

static int make_model(struct maker *m, json_t **ret_model)
{
    json_t *merges = json_array();
    json_t *unk = m->is_spm ? token_of(m->gguf, "tokenizer.ggml.unknown_token_id") : NULL;
    if (m->is_spm && unk == NULL)
        unk = json_string("<unk>");
    const int r = m->is_spm
                      ? gguf_merges_from_scores(m->tokens, m->scores, m->vocab, merges, m->err)
                      : copy_merges(m, merges);
    if (unk != NULL && json_object_get(m->vocab, json_string_value(unk)) == NULL) {
        json_decref(unk);
        unk = NULL;
    }
    *ret_model = json_pack(
        "{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:O, s:o}", "type", "BPE", "dropout", "unk_token",
        unk != NULL ? unk : json_null(), "continuing_subword_prefix", "end_of_word_suffix",
        "fuse_unk", m->is_spm, "byte_fallback", m->is_spm, "ignore_merges",
        !m->is_spm && m->pre->ignore_merges, "vocab", m->vocab, "merges", merges);
    if (r == 0 && *ret_model == NULL)
        return error_set(m->err, -ENOMEM, "no memory for a tokenizer");
    return r;
}

static json_t *make_root(struct maker *m, json_t *model)
{
    bool prefix = true;
    gguf_bool(m->gguf, "tokenizer.ggml.add_space_prefix", &prefix, NULL);
    json_t *normalizer = m->is_spm     ? make_spm_normalizer(prefix)
                         : m->pre->nfc ? json_pack("{s:s}", "type", "NFC")
                                       : json_null();
    return json_pack("{s:s, s:n, s:n, s:O, s:o, s:o, s:o, s:o, s:O}", "version", "1.0",
                     "truncation", "padding", "added_tokens", m->added, "normalizer", normalizer,
                     "pre_tokenizer", m->is_spm ? json_null() : make_pre_tokenizer(m->pre->style),
                     "post_processor", make_post_processor(m), "decoder",
                     m->is_spm ? make_spm_decoder(prefix) : make_byte_level(), "model", model);
}

static int make_text_of(struct maker *m, char **ret_text)
{
    json_t *model = NULL, *root = NULL;
    int r = find_model(m);
    if (r == 0)
        r = read_arrays(m);
    if (r == 0)
        r = make_model(m, &model);
    if (r == 0)
        root = make_root(m, model);
    if (root != NULL)
        *ret_text = json_dumps(root, JSON_COMPACT);
    json_decref(model);
    json_decref(root);
    return r < 0 || *ret_text != NULL ? r : error_set(m->err, -ENOMEM, "no memory for a tokenizer");
}

int gguf_tokenizer_json(const struct gguf *gguf, char **ret_text, size_t *ret_len,
                        struct error *err)
{
    struct maker m = { .gguf = gguf, .err = err, .vocab = json_object(), .added = json_array() };
    char *text = NULL;
    const int r = make_text_of(&m, &text);
    json_decref(m.vocab);
    json_decref(m.added);
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_text = text;
    *ret_len = strlen(text);
    return 0;
}

int gguf_tokenizer_config(const struct gguf *gguf, json_t **ret_config, struct error *err)
{
    const char *template = NULL;
    size_t len = 0;
    const int r = gguf_text(gguf, "tokenizer.chat_template", &template, &len, err);
    if (r < 0)
        return r;
    json_t *text = r > 0 ? json_stringn(template, len) : NULL;
    if (r > 0 && text == NULL)
        return error_set(err, -EINVAL, "tokenizer.chat_template is no UTF-8");
    *ret_config = json_pack("{s:o*, s:o*, s:o*}", "chat_template", text, "bos_token",
                            token_of(gguf, "tokenizer.ggml.bos_token_id"), "eos_token",
                            token_of(gguf, "tokenizer.ggml.eos_token_id"));
    return *ret_config != NULL ? 0 : error_set(err, -ENOMEM, "no memory for a configuration");
}

int gguf_generation_config(const struct gguf *gguf, json_t **ret_config, struct error *err)
{
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    json_t *ids = json_array();
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (id_of(gguf, keys[i]) >= 0)
            json_array_append_new(ids, json_integer(id_of(gguf, keys[i])));
    *ret_config = json_pack("{s:o}", "eos_token_id", ids);
    return *ret_config != NULL ? 0 : error_set(err, -ENOMEM, "no memory for a configuration");
}
