/* What tokens there are: model.vocab and added_tokens of a tokenizer.json. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/byte_level.h"
#include "text/component.h"
#include "text/tokenizer_parts.h"

struct entry {
    const char *text;
    size_t len;
    int32_t id;
};

/* While reading. */
struct reading {
    struct tokenizer *t;
    struct entry *entries; /* [num_entries] of model.vocab */
    size_t num_entries;
    struct pieces *texts; /* the entries by their text */
    int64_t max_id;
    struct decoder_work decoder;
    struct normalizer_work normalizer;
    struct strbuf bytes;
};

/* BPE: an object of ids. */
static int read_object(struct reading *reading, const struct component *model, json_t *vocab)
{
    const char *key;
    size_t len;
    json_t *value;
    json_object_keylen_foreach(vocab, key, len, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) >= VOCAB_IDS_MAX)
            return error_set(model->err, -EINVAL,
                             "tokenizer.json: model.vocab: id of \"%.*s\" is "
                             "no integer from 0 to %d",
                             len < 80 ? (int)len : 80, key, VOCAB_IDS_MAX - 1);
        reading->entries[reading->num_entries++] =
            (struct entry){ key, len, (int32_t)json_integer_value(value) };
    }
    return 0;
}

/* Unigram: a list of [text, score] whose places are the ids. */
static int read_list(struct reading *reading, const struct component *model, json_t *vocab)
{
    if (json_array_size(vocab) > VOCAB_IDS_MAX)
        return error_set(model->err, -EINVAL,
                         "tokenizer.json: model.vocab has %zu tokens, at most %d are read",
                         json_array_size(vocab), VOCAB_IDS_MAX);
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *text = json_array_get(json_array_get(vocab, i), 0);
        if (!json_is_string(text))
            return error_set(model->err, -EINVAL,
                             "tokenizer.json: model.vocab[%zu] is not a text with a score", i);
        reading->entries[reading->num_entries++] =
            (struct entry){ json_string_value(text), json_string_length(text), (int32_t)i };
    }
    return 0;
}

static int read_entries(struct reading *reading, const struct component *model)
{
    const bool is_list = reading->t->model.type == MODEL_UNIGRAM;
    json_t *vocab;
    int r = component_get(model, "vocab", is_list ? JSON_ARRAY : JSON_OBJECT, &vocab);
    if (r < 0)
        return r;
    const size_t num = is_list ? json_array_size(vocab) : json_object_size(vocab);
    reading->entries = calloc(num + 1, sizeof(*reading->entries));
    if (reading->entries == NULL)
        return -ENOMEM;
    r = (is_list ? read_list : read_object)(reading, model, vocab);
    for (size_t i = 0; i < reading->num_entries; i++)
        if (reading->entries[i].id > reading->max_id)
            reading->max_id = reading->entries[i].id;
    return r;
}

/* Bytes of an entry, for the model and for decoding. */
static int enter(struct reading *reading, const struct entry *entry)
{
    struct tokenizer *t = reading->t;
    const char *bytes;
    size_t len;
    const int how =
        decoder_run(&t->decoder, &reading->decoder, false, entry->text, entry->len, &bytes, &len);
    if (how < 0)
        return how;
    int r = vocab_set(&t->vocab, entry->id, bytes, len, how == DECODER_BYTE ? VOCAB_BYTE : 0);
    if (r < 0 || !t->pre_tokenizer.byte_level)
        return r;
    strbuf_reset(&reading->bytes);
    if (!strbuf_reserve(&reading->bytes, entry->len))
        return -ENOMEM;
    const int64_t num = byte_level_decode(entry->text, entry->len, reading->bytes.data);
    return num < 0 ? 0 : pieces_add(&t->pieces, entry->id, reading->bytes.data, (size_t)num);
}

static int fill_vocab(struct reading *reading, struct error *err)
{
    const struct vocab *vocab = &reading->t->vocab;
    int r = 0;
    for (size_t i = 0; r == 0 && i < reading->num_entries; i++) {
        const struct entry *entry = &reading->entries[i];
        if ((vocab->flags[entry->id] & VOCAB_PRESENT) != 0)
            return error_set(err, -EINVAL,
                             "tokenizer.json: model.vocab: id %d of \"%.*s\" belongs "
                             "to another token, too",
                             entry->id, entry->len < 80 ? (int)entry->len : 80, entry->text);
        r = pieces_add(reading->texts, entry->id, entry->text, entry->len);
        if (r == 0)
            r = enter(reading, entry);
    }
    return r;
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
static int check_added_id(const struct reading *reading, const struct component *item,
                          const json_t *content, int32_t id)
{
    const int32_t known =
        pieces_find(reading->texts, json_string_value(content), json_string_length(content));
    const unsigned flags = reading->t->vocab.flags[id];
    if (known >= 0 && known != id)
        return error_set(item->err, -EINVAL,
                         "tokenizer.json: %s.id is %d, model.vocab gives the text id %d",
                         item->where, id, known);
    if ((flags & VOCAB_ADDED) != 0 || (known < 0 && (flags & VOCAB_PRESENT) != 0))
        return error_set(item->err, -EINVAL, "tokenizer.json: %s.id is %d, which another token has",
                         item->where, id);
    return 0;
}

/* Bytes of a token that only added_tokens has, as it was found in text. Those of byte-level files
 * stand for themselves. */
static int set_added(struct reading *reading, const char *text, size_t len,
                     const struct added_token *token, unsigned flags)
{
    struct tokenizer *t = reading->t;
    int r = 0;
    if (!decoder_is_byte_level(&t->decoder))
        r = decoder_run(&t->decoder, &reading->decoder, false, text, len, &text, &len);
    if (r < 0)
        return r;
    return vocab_set(&t->vocab, token->id, text, len, flags | (r == DECODER_BYTE ? VOCAB_BYTE : 0));
}

static int enter_added(struct reading *reading, const json_t *content, struct added_token token)
{
    struct tokenizer *t = reading->t;
    const char *text = json_string_value(content);
    size_t len = json_string_length(content);
    const unsigned flags = VOCAB_ADDED | (token.special ? VOCAB_SPECIAL : 0);
    int r = pieces_add(&t->added_texts, token.id, text, len);
    if (r == 0 && token.normalized)
        r = normalizer_run(&t->normalizer, &reading->normalizer, text, len, &text, &len);
    if (r == 0 && (t->vocab.flags[token.id] & VOCAB_PRESENT) == 0)
        r = set_added(reading, text, len, &token, flags);
    t->vocab.flags[token.id] |= (uint8_t)flags; /* one of the vocabulary keeps its bytes */
    if (r == 0 && len > 0)
        r = added_tokens_add(token.normalized ? &t->added_normalized : &t->added_raw, text, len,
                             token);
    return r;
}

static int fill_added(struct reading *reading, const struct component *top, const json_t *list)
{
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
            r = check_added_id(reading, &item, content, token.id);
        if (r == 0)
            r = enter_added(reading, content, token);
    }
    return r;
}

/* A piece that the vocabulary has twice is special with both ids: HF goes by the text. */
static void flag_special_twins(const struct reading *reading)
{
    struct tokenizer *t = reading->t;
    for (size_t i = 0; i < reading->num_entries; i++) {
        const struct entry *entry = &reading->entries[i];
        const int32_t id = pieces_find(&t->added_texts, entry->text, entry->len);
        if (id >= 0)
            t->vocab.flags[entry->id] |= (uint8_t)(t->vocab.flags[id] & VOCAB_SPECIAL);
    }
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

static int init_tables(struct reading *reading, const json_t *list)
{
    struct tokenizer *t = reading->t;
    const int32_t num_ids = (int32_t)reading->max_id + 1;
    int r = vocab_init(&t->vocab, num_ids);
    if (r == 0)
        r = pieces_init(&t->pieces, num_ids, reading->num_entries);
    if (r == 0)
        r = pieces_init(&t->added_texts, num_ids, json_array_size(list));
    if (r == 0 && reading->texts != &t->pieces)
        r = pieces_init(reading->texts, num_ids, reading->num_entries);
    return r;
}

static int read_all(struct reading *reading, const struct component *top,
                    const struct component *model)
{
    const json_t *list = json_object_get(top->json, "added_tokens");
    int r = read_entries(reading, model);
    if (r == 0 && list != NULL && !json_is_null(list) && !json_is_array(list))
        r = component_wrong(top, "added_tokens", list, "a list");
    if (r == 0)
        r = measure_added(top, list, &reading->max_id);
    if (r == 0)
        r = init_tables(reading, list);
    if (r == 0)
        r = fill_vocab(reading, top->err);
    if (r == 0)
        r = fill_added(reading, top, list);
    if (r < 0)
        return r;
    flag_special_twins(reading);
    return model_read(&reading->t->model, model, reading->texts,
                      reading->t->pre_tokenizer.byte_level);
}

int tokenizer_parts_read_vocab(struct tokenizer *t, const struct component *top,
                               const struct component *model)
{
    struct pieces texts = { 0 };
    struct reading reading = { .t = t, .max_id = -1 };
    reading.texts = t->pre_tokenizer.byte_level ? &texts : &t->pieces;
    const int r = read_all(&reading, top, model);
    pieces_finish(&texts);
    free(reading.entries);
    decoder_work_finish(&reading.decoder);
    normalizer_work_finish(&reading.normalizer);
    strbuf_finish(&reading.bytes);
    return r;
}
