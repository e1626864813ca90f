#include "text/tokenizer_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/component.h"
#include "text/unicode.h"

/* No composition of NFC shortens text to less than a third (Hangul jamo, 9 bytes to 3; U+212A,
 * 3 to 1); four leaves room for what later versions add. */
enum { NFC_SHRINK_MAX = 4 };

static int read_model_type(const struct component *model)
{
    const json_t *type = json_object_get(model->json, "type");
    if (type == NULL || json_is_null(type)) /* files older than the field are BPE with merges */
        return 0;
    if (!json_is_string(type))
        return component_wrong(model, "type", type, "a string");
    if (strcmp(json_string_value(type), "BPE") == 0)
        return 0;
    return error_set(model->err, -ENOTSUP,
                     "tokenizer.json: model.type is \"%.80s\", supported is BPE",
                     json_string_value(type));
}

/* Check every id of the vocabulary; *max_id becomes the highest, *max_len the longest key. */
static int measure_vocab(const struct component *model, json_t *entries, int64_t *max_id,
                         size_t *max_len)
{
    const char *key;
    size_t len;
    json_t *value;
    json_object_keylen_foreach(entries, key, len, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) >= VOCAB_IDS_MAX)
            return error_set(model->err, -EINVAL,
                             "tokenizer.json: model.vocab: id of \"%.*s\" is "
                             "no integer from 0 to %d",
                             len < 80 ? (int)len : 80, key, VOCAB_IDS_MAX - 1);
        if (json_integer_value(value) > *max_id)
            *max_id = json_integer_value(value);
        *max_len = len > *max_len ? len : *max_len;
    }
    return 0;
}

static int fill_vocab(struct tokenizer *t, json_t *entries, char *bytes, struct error *err)
{
    const char *key;
    size_t len;
    json_t *value;
    json_object_keylen_foreach(entries, key, len, value)
    {
        const int32_t id = (int32_t)json_integer_value(value);
        bool literal;
        if ((t->vocab.flags[id] & VOCAB_PRESENT) != 0)
            return error_set(err, -EINVAL,
                             "tokenizer.json: model.vocab: id %d of \"%.*s\" belongs "
                             "to another token, too",
                             id, len < 80 ? (int)len : 80, key);
        const size_t num = decoder_run(&t->decoder, key, len, bytes, &literal);
        const int r = vocab_set(&t->vocab, id, bytes, num, 0);
        if (r < 0)
            return r;
        if (!literal)
            vocab_add_piece(&t->vocab, id);
    }
    return 0;
}

static int open_added(const struct component *top, const json_t *list, size_t i,
                      struct component *ret_item, json_t **ret_content, int64_t *ret_id)
{
    int r = component_member(top, "added_tokens", list, i, ret_item);
    if (r == 0)
        r = component_int(ret_item, "id", VOCAB_IDS_MAX - 1, ret_id);
    if (r == 0)
        r = component_get(ret_item, "content", JSON_STRING, ret_content);
    if (r == 0 && (json_string_length(*ret_content) == 0 ||
                   json_string_length(*ret_content) > ADDED_TOKENS_BYTES_MAX))
        r = error_set(top->err, -EINVAL, "tokenizer.json: %s.content has %zu bytes, wanted 1 to %d",
                      ret_item->where, json_string_length(*ret_content), ADDED_TOKENS_BYTES_MAX);
    return r;
}

static int read_added_flags(const struct component *item, struct added_token *token)
{
    const struct {
        const char *key;
        bool *value;
    } flags[] = {
        { "single_word", &token->single_word }, { "lstrip", &token->lstrip },
        { "rstrip", &token->rstrip },           { "normalized", &token->normalized },
        { "special", &token->special },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(flags) / sizeof(flags[0]); i++)
        r = component_bool(item, flags[i].key, false, flags[i].value);
    return r;
}

/* Is the id free, or that of the same text in the vocabulary? */
static int check_added_id(const struct tokenizer *t, const struct component *item,
                          const json_t *entries, const json_t *content, int32_t id)
{
    const json_t *known =
        json_object_getn(entries, json_string_value(content), json_string_length(content));
    const unsigned flags = t->vocab.flags[id];
    if (known != NULL && json_integer_value(known) != id)
        return error_set(item->err, -EINVAL,
                         "tokenizer.json: %s.id is %d, model.vocab gives the "
                         "text id %lld",
                         item->where, id, (long long)json_integer_value(known));
    if ((flags & VOCAB_ADDED) != 0 || (known == NULL && (flags & VOCAB_PRESENT) != 0))
        return error_set(item->err, -EINVAL, "tokenizer.json: %s.id is %d, which another token has",
                         item->where, id);
    return 0;
}

static int enter_added(struct tokenizer *t, struct normalizer_work *work, const json_t *content,
                       struct added_token token)
{
    const char *text = json_string_value(content);
    size_t len = json_string_length(content);
    const unsigned flags = VOCAB_ADDED | (token.special ? VOCAB_SPECIAL : 0);
    int r = 0;
    if ((t->vocab.flags[token.id] & VOCAB_PRESENT) == 0)
        r = vocab_set(&t->vocab, token.id, text, len, flags);
    t->vocab.flags[token.id] |= (uint8_t)flags; /* one of the vocabulary keeps its bytes */
    t->added_ids[t->num_added++] = token.id;
    if (r == 0 && token.normalized)
        r = normalizer_run(&t->normalizer, work, text, len, &text, &len);
    if (r == 0)
        r = added_tokens_add(token.normalized ? &t->added_normalized : &t->added_raw, text, len,
                             token);
    return r;
}

static int fill_added(struct tokenizer *t, const struct component *top, const json_t *list,
                      const json_t *entries)
{
    struct normalizer_work work = { 0 };
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        struct component item;
        struct added_token token = { 0 };
        json_t *content = NULL;
        int64_t id = 0;
        r = open_added(top, list, i, &item, &content, &id);
        token.id = (int32_t)id;
        if (r == 0)
            r = read_added_flags(&item, &token);
        if (r == 0)
            r = check_added_id(t, &item, entries, content, token.id);
        if (r == 0)
            r = enter_added(t, &work, content, token);
    }
    normalizer_work_finish(&work);
    return r;
}

static int measure_added(const struct component *top, const json_t *list, int64_t *max_id)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        struct component item;
        json_t *content;
        int64_t id = 0;
        r = open_added(top, list, i, &item, &content, &id);
        *max_id = id > *max_id ? id : *max_id;
    }
    return r;
}

static int read_vocab(struct tokenizer *t, const struct component *top,
                      const struct component *model)
{
    const json_t *list = json_object_get(top->json, "added_tokens");
    json_t *entries;
    int64_t max_id = -1;
    size_t max_len = 0;
    int r = component_get(model, "vocab", JSON_OBJECT, &entries);
    if (r == 0 && list != NULL && !json_is_null(list) && !json_is_array(list))
        r = component_wrong(top, "added_tokens", list, "a list");
    if (r == 0)
        r = measure_vocab(model, entries, &max_id, &max_len);
    if (r == 0)
        r = measure_added(top, list, &max_id);
    if (r < 0)
        return r;
    char *bytes = malloc(max_len + 1);
    t->added_ids = calloc(json_array_size(list) + 1, sizeof(*t->added_ids));
    r = bytes != NULL && t->added_ids != NULL
            ? vocab_init(&t->vocab, (int32_t)max_id + 1, json_object_size(entries))
            : -ENOMEM;
    if (r == 0)
        r = fill_vocab(t, entries, bytes, top->err);
    if (r == 0)
        r = fill_added(t, top, list, entries);
    free(bytes);
    return r;
}

static int check_byte_level(const struct tokenizer *t, struct error *err)
{
    if (t->pre_tokenizer.byte_level)
        return 0;
    return error_set(err, -ENOTSUP,
                     "tokenizer.json: pre_tokenizer has no ByteLevel, wanted a byte-level BPE");
}

/* tokenizer_config.json: {"add_bos_token": true, "bos_token": TEXT or {"content": TEXT}}. */
static int read_bos(struct tokenizer *t, const json_t *config, struct error *err)
{
    struct post_processor *post = &t->post_processor;
    const json_t *bos = json_object_get(config, "bos_token");
    if (!json_is_true(json_object_get(config, "add_bos_token")) || post->num_before > 0)
        return 0;
    if (json_is_object(bos))
        bos = json_object_get(bos, "content");
    if (!json_is_string(bos))
        return error_set(err, -EINVAL,
                         "tokenizer_config.json: add_bos_token is true, but "
                         "bos_token is no text");
    const int32_t id = tokenizer_find(t, json_string_value(bos), json_string_length(bos));
    if (id < 0)
        return error_set(err, -EINVAL,
                         "tokenizer_config.json: bos_token \"%.80s\" is no token of "
                         "tokenizer.json",
                         json_string_value(bos));
    post->before[post->num_before++] = id;
    return 0;
}

static bool loses_bytes(const struct tokenizer *t)
{
    const struct bpe *bpe = &t->bpe;
    bool missing = false;
    for (int byte = 0; byte < 256; byte++)
        missing = missing || bpe->byte_ids[byte] < 0;
    return missing && (bpe->unk_id < 0 || bpe->fuse_unk);
}

static size_t bound_token_bytes(const struct tokenizer *t)
{
    size_t bytes = t->vocab.max_token_bytes > 0 ? t->vocab.max_token_bytes : 1;
    if (t->added_raw.strips || t->added_normalized.strips || loses_bytes(t) ||
        pre_tokenizer_removes(&t->pre_tokenizer))
        return SIZE_MAX;
    for (int32_t i = 0; i < t->normalizer.num_stages; i++)
        bytes *= NFC_SHRINK_MAX;
    return bytes;
}

int tokenizer_parts_read(struct tokenizer *t, const json_t *root, const json_t *config,
                         bool by_hand, struct error *err)
{
    const struct component top = { .json = root, .err = err };
    struct component model;
    if (unicode_load() < 0 || added_tokens_init(&t->added_raw) < 0 ||
        added_tokens_init(&t->added_normalized) < 0)
        return -ENOMEM;
    if (!json_is_object(root))
        return error_set(err, -EINVAL, "tokenizer.json is not an object");
    int r = component_child(&top, "model", &model);
    if (r == 0)
        r = read_model_type(&model);
    if (r == 0)
        r = normalizer_read(&t->normalizer, root, err);
    if (r == 0)
        r = pre_tokenizer_read(&t->pre_tokenizer, root, by_hand, err);
    if (r == 0)
        r = check_byte_level(t, err);
    if (r == 0)
        r = decoder_read(&t->decoder, root, err);
    if (r == 0)
        r = read_vocab(t, &top, &model);
    if (r == 0)
        r = bpe_read(&t->bpe, model.json, err);
    if (r == 0)
        r = post_processor_read(&t->post_processor, root, &t->vocab, err);
    if (r == 0)
        r = read_bos(t, config, err);
    if (r == 0)
        t->max_token_bytes = bound_token_bytes(t);
    return r;
}

void tokenizer_parts_finish(struct tokenizer *t)
{
    added_tokens_finish(&t->added_raw);
    added_tokens_finish(&t->added_normalized);
    pre_tokenizer_finish(&t->pre_tokenizer);
    bpe_finish(&t->bpe);
    vocab_finish(&t->vocab);
    free(t->added_ids);
}

static int parse_config(const char *config, size_t len, json_t **ret_config, struct error *err)
{
    struct error why = { 0 };
    if (config == NULL)
        return 0;
    const int r = json_read(config, len, &json_limits_file, ret_config, &why);
    return r < 0 ? error_set(err, r, "tokenizer_config.json: %s", why.message) : 0;
}

int tokenizer_parts_from_json(const char *json, size_t json_len, const char *config,
                              size_t config_len, bool by_hand, struct tokenizer **ret_tokenizer,
                              struct error *err)
{
    struct error why = { 0 };
    json_t *root = NULL, *settings = NULL;
    struct tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (tokenizer == NULL)
        return error_set(err, -ENOMEM, "tokenizer.json: no memory");
    int r = json_read(json, json_len, &json_limits_file, &root, &why);
    if (r < 0)
        error_set(err, r, "tokenizer.json: %s", why.message);
    if (r == 0)
        r = parse_config(config, config_len, &settings, err);
    if (r == 0)
        r = tokenizer_parts_read(tokenizer, root, settings, by_hand, err);
    if (r == -ENOMEM) /* wherever it was: the parts below only return it */
        error_set(err, r, "tokenizer.json: no memory to load %zu bytes", json_len);
    json_decref(root);
    json_decref(settings);
    if (r < 0)
        tokenizer_close(tokenizer);
    else
        *ret_tokenizer = tokenizer;
    return r;
}
