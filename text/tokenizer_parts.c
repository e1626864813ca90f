#include "text/tokenizer_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/component.h"
#include "text/unicode.h"

/* Both or neither: the alphabet is undone while loading. */
static int check_byte_level(const struct tokenizer *t, struct error *err)
{
    if (t->pre_tokenizer.byte_level == decoder_is_byte_level(&t->decoder))
        return 0;
    return error_set(err, -ENOTSUP,
                     "tokenizer.json: the %s has a ByteLevel and the %s has none, wanted both or "
                     "neither",
                     t->pre_tokenizer.byte_level ? "pre_tokenizer" : "decoder",
                     t->pre_tokenizer.byte_level ? "decoder" : "pre_tokenizer");
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

enum { UTF8_MAX = 4 };

static size_t bound_token_bytes(const struct tokenizer *t)
{
    const size_t shrinks = normalizer_shrinks(&t->normalizer);
    size_t bytes = UTF8_MAX; /* of one unk */
    if (t->vocab.max_token_bytes > bytes)
        bytes = t->vocab.max_token_bytes;
    if (t->pieces.max_bytes > bytes)
        bytes = t->pieces.max_bytes;
    if (t->added_raw.strips || t->added_normalized.strips || model_loses_text(&t->model) ||
        pre_tokenizer_removes(&t->pre_tokenizer) || shrinks == 0)
        return SIZE_MAX;
    return bytes * shrinks;
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
        r = model_read_type(&model, &t->model.type);
    if (r == 0)
        r = normalizer_read(&t->normalizer, root, err);
    if (r == 0)
        r = pre_tokenizer_read(&t->pre_tokenizer, root, by_hand, err);
    if (r == 0)
        r = decoder_read(&t->decoder, root, err);
    if (r == 0)
        r = check_byte_level(t, err);
    if (r == 0)
        r = tokenizer_parts_read_vocab(t, &top, &model);
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
    normalizer_finish(&t->normalizer);
    pre_tokenizer_finish(&t->pre_tokenizer);
    model_finish(&t->model);
    decoder_finish(&t->decoder);
    vocab_finish(&t->vocab);
    pieces_finish(&t->pieces);
    pieces_finish(&t->added_texts);
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
