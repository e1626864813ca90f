#include "proto/records/record.h"

#include <errno.h>
#include <string.h>

enum { CHOICE_WORD_BYTES = 4 }; /* the index before a CHOICE item's ids */

/* ------------------------------------------------------------------ encoding */

static size_t item_bytes(size_t len)
{
    return sizeof(struct record_item) + len;
}

/* Items that are ids and nothing else, in the order in which they are written. */
struct id_list {
    enum record_item_type type;
    const char *name;
    size_t ids, num; /* offsets in struct record_submit */
    uint32_t max;    /* 0: as many as the vocabulary has */
};

#define IDS(field, count)                                                                          \
#field, offsetof(struct record_submit, field), offsetof(struct record_submit, count)

// clang-format off
static const struct id_list id_lists[] = {
    { RECORD_ITEM_EOS_IDS,     IDS(eos_ids, num_eos_ids),         RECORD_MAX_STOP_IDS },
    { RECORD_ITEM_STOP_IDS,    IDS(stop_ids, num_stop_ids),       RECORD_MAX_STOP_IDS },
    { RECORD_ITEM_ALLOWED_IDS, IDS(allowed_ids, num_allowed_ids), 0 },
    { RECORD_ITEM_BAD_WORDS,   IDS(bad_words, bad_words_len),     RECORD_MAX_BAD_WORDS_LEN },
};
// clang-format on

enum { NUM_ID_LISTS = sizeof(id_lists) / sizeof(id_lists[0]) };

static const int32_t **list_ids(const struct id_list *list, struct record_submit *submit)
{
    return (const int32_t **)(void *)((char *)submit + list->ids);
}

static uint32_t *list_num(const struct id_list *list, struct record_submit *submit)
{
    return (uint32_t *)(void *)((char *)submit + list->num);
}

static size_t list_bytes(const struct id_list *list, const struct record_submit *submit)
{
    uint32_t num;
    memcpy(&num, (const char *)submit + list->num, sizeof(num));
    return num * sizeof(int32_t);
}

size_t record_submit_bytes(const struct record_submit *submit)
{
    size_t bytes = item_bytes(sizeof(struct record_params)) +
                   item_bytes((size_t)submit->num_prompt * sizeof(int32_t));
    for (uint32_t i = 0; i < submit->num_choices; i++)
        bytes +=
            item_bytes(CHOICE_WORD_BYTES + (size_t)submit->choices[i].num_ids * sizeof(int32_t));
    if (submit->num_biases > 0)
        bytes += item_bytes(submit->num_biases * sizeof(struct record_bias));
    for (int i = 0; i < NUM_ID_LISTS; i++)
        if (list_bytes(&id_lists[i], submit) > 0)
            bytes += item_bytes(list_bytes(&id_lists[i], submit));
    return bytes;
}

static char *put(char *at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(at, bytes, len);
    return at + len;
}

static char *put_header(char *at, enum record_item_type type, size_t len)
{
    const struct record_item item = { .type = type, .len = (uint32_t)len };
    return put(at, &item, sizeof(item));
}

static char *put_item(char *at, enum record_item_type type, const void *bytes, size_t len)
{
    return put(put_header(at, type, len), bytes, len);
}

void record_submit_encode(const struct record_submit *submit, void *out)
{
    char *at = put_item(out, RECORD_ITEM_PARAMS, submit->params, sizeof(*submit->params));
    at = put_item(at, RECORD_ITEM_PROMPT, submit->prompt,
                  (size_t)submit->num_prompt * sizeof(int32_t));
    for (uint32_t i = 0; i < submit->num_choices; i++) {
        const size_t len = (size_t)submit->choices[i].num_ids * sizeof(int32_t);
        at = put_header(at, RECORD_ITEM_CHOICE, CHOICE_WORD_BYTES + len);
        at = put(at, &submit->choices[i].index, CHOICE_WORD_BYTES);
        at = put(at, submit->choices[i].ids, len);
    }
    if (submit->num_biases > 0)
        at = put_item(at, RECORD_ITEM_LOGIT_BIAS, submit->biases,
                      submit->num_biases * sizeof(struct record_bias));
    for (int i = 0; i < NUM_ID_LISTS; i++) {
        const void *ids;
        const size_t len = list_bytes(&id_lists[i], submit);
        memcpy(&ids, (const char *)submit + id_lists[i].ids, sizeof(ids));
        if (len > 0)
            at = put_item(at, id_lists[i].type, ids, len);
    }
}

/* ------------------------------------------------------------------ checks of params */

/* How a number of struct record_params may look: [min, max], or (min, max] when `open`. */
struct float_range {
    const char *name;
    size_t offset;
    float min, max;
    bool open;
};

struct int_range {
    const char *name;
    size_t offset;
    int64_t min, max;
    bool is_unsigned;
};

#define FIELD(field) #field, offsetof(struct record_params, field)

// clang-format off
static const struct float_range float_ranges[] = {
    { FIELD(temperature),        0.0f,  2.0f, false },
    { FIELD(top_p),              0.0f,  1.0f, true },
    { FIELD(min_p),              0.0f,  1.0f, false },
    { FIELD(typical_p),          0.0f,  1.0f, true },
    { FIELD(repetition_penalty), 0.0f, 10.0f, true },
    { FIELD(presence_penalty),  -2.0f,  2.0f, false },
    { FIELD(frequency_penalty), -2.0f,  2.0f, false },
};

static const struct int_range int_ranges[] = {
    { FIELD(max_tokens),           1, INT32_MAX, true },
    { FIELD(min_tokens),           0, INT32_MAX, true },
    { FIELD(num_choices),          1, RECORD_MAX_CHOICES, true },
    { FIELD(flags),                0, RECORD_PARAMS_FLAGS, true },
    { FIELD(top_k),               -1, INT32_MAX, false }, /* more than the vocabulary: off */
    { FIELD(num_logprobs),        -1, RECORD_MAX_LOGPROBS, false },
    { FIELD(num_prompt_logprobs), -1, RECORD_MAX_LOGPROBS, false },
};
// clang-format on

static int check_float(const struct record_params *params, const struct float_range *range,
                       struct error *err)
{
    float value;
    memcpy(&value, (const char *)params + range->offset, sizeof(value));
    const bool low = range->open ? !(value > range->min) : !(value >= range->min);
    if (low || !(value <= range->max)) /* a NaN fails both */
        return error_set(err, -EPROTO, "SUBMIT params.%s is %g, must be in %c%g, %g]", range->name,
                         (double)value, range->open ? '(' : '[', (double)range->min,
                         (double)range->max);
    return 0;
}

static int check_int(const struct record_params *params, const struct int_range *range,
                     struct error *err)
{
    int32_t raw;
    memcpy(&raw, (const char *)params + range->offset, sizeof(raw));
    const int64_t value = range->is_unsigned ? (int64_t)(uint32_t)raw : raw;
    if (value < range->min || value > range->max)
        return error_set(err, -EPROTO, "SUBMIT params.%s is %lld, must be in [%lld, %lld]",
                         range->name, (long long)value, (long long)range->min,
                         (long long)range->max);
    return 0;
}

static int check_params(const struct record_params *params, struct error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(int_ranges) / sizeof(int_ranges[0]); i++)
        r = check_int(params, &int_ranges[i], err);
    for (size_t i = 0; r == 0 && i < sizeof(float_ranges) / sizeof(float_ranges[0]); i++)
        r = check_float(params, &float_ranges[i], err);
    if (r == 0 && params->min_tokens > params->max_tokens)
        r = error_set(err, -EPROTO, "SUBMIT params.min_tokens is %u, above max_tokens %u",
                      params->min_tokens, params->max_tokens);
    return r;
}

/* ------------------------------------------------------------------ checks of items */

/* What is known while the items are read in their order. */
struct reader {
    const struct record_bounds *bounds;
    struct record_submit *submit;
};

static int check_ids(const char *what, const int32_t *ids, uint32_t num_ids,
                     const struct record_bounds *bounds, struct error *err)
{
    for (uint32_t i = 0; i < num_ids; i++)
        if (ids[i] < 0 || ids[i] >= bounds->vocab_size)
            return error_set(err, -EPROTO, "SUBMIT %s[%u] is token %d, the vocabulary has %d", what,
                             i, ids[i], bounds->vocab_size);
    return 0;
}

static int twice(const char *what, struct error *err)
{
    return error_set(err, -EPROTO, "SUBMIT holds more than one %s item", what);
}

static int read_params(struct reader *reader, const void *data, uint32_t len, struct error *err)
{
    if (reader->submit->params != NULL)
        return twice("params", err);
    if (len != sizeof(struct record_params))
        return error_set(err, -EPROTO, "SUBMIT params item of %u bytes, must be %zu", len,
                         sizeof(struct record_params));
    reader->submit->params = data;
    return check_params(data, err);
}

static int read_prompt(struct reader *reader, const void *data, uint32_t len, struct error *err)
{
    const uint32_t num_prompt = len / sizeof(int32_t);
    const uint32_t max_tokens = reader->submit->params->max_tokens;
    if (reader->submit->prompt != NULL)
        return twice("prompt", err);
    if (num_prompt == 0)
        return error_set(err, -EPROTO, "SUBMIT prompt has 0 tokens, at least 1 is needed");
    if ((int64_t)num_prompt + max_tokens > reader->bounds->max_model_len)
        return error_set(err, -EPROTO,
                         "SUBMIT prompt of %u tokens and max_tokens %u exceed the context of %d",
                         num_prompt, max_tokens, reader->bounds->max_model_len);
    reader->submit->prompt = data;
    reader->submit->num_prompt = num_prompt;
    return check_ids("prompt", data, num_prompt, reader->bounds, err);
}

static int check_choice_place(const struct record_submit *submit, uint32_t index, struct error *err)
{
    if (index >= submit->params->num_choices)
        return error_set(err, -EPROTO, "SUBMIT choice %u, num_choices is %u", index,
                         submit->params->num_choices);
    if (submit->num_choices > 0 && index <= submit->choices[submit->num_choices - 1].index)
        return error_set(err, -EPROTO, "SUBMIT choice %u after choice %u, must ascend", index,
                         submit->choices[submit->num_choices - 1].index);
    return 0;
}

static int read_choice(struct reader *reader, const void *data, uint32_t len, struct error *err)
{
    struct record_submit *submit = reader->submit;
    if (len < CHOICE_WORD_BYTES)
        return error_set(err, -EPROTO, "SUBMIT choice item of %u bytes, must be at least %d", len,
                         CHOICE_WORD_BYTES);
    const uint32_t index = *(const uint32_t *)data;
    const uint32_t num_ids = (len - CHOICE_WORD_BYTES) / sizeof(int32_t);
    const int32_t *ids = (const int32_t *)data + 1;
    const int r = check_choice_place(submit, index, err);
    if (r < 0)
        return r;
    if (num_ids >= submit->params->max_tokens)
        return error_set(err, -EPROTO,
                         "SUBMIT choice %u has %u tokens already, must be below max_tokens %u",
                         index, num_ids, submit->params->max_tokens);
    submit->choices[submit->num_choices].index = index;
    submit->choices[submit->num_choices].ids = ids;
    submit->choices[submit->num_choices].num_ids = num_ids;
    submit->num_choices++;
    return check_ids("choice", ids, num_ids, reader->bounds, err);
}

static int check_bias(const struct record_bias *bias, uint32_t i,
                      const struct record_bounds *bounds, struct error *err)
{
    if (bias->token_id < 0 || bias->token_id >= bounds->vocab_size)
        return error_set(err, -EPROTO,
                         "SUBMIT logit_bias[%u] is for token %d, the vocabulary has %d", i,
                         bias->token_id, bounds->vocab_size);
    if (!(bias->bias >= -100.0f && bias->bias <= 100.0f))
        return error_set(err, -EPROTO, "SUBMIT logit_bias[%u] is %g, must be in [-100, 100]", i,
                         (double)bias->bias);
    return 0;
}

static int read_biases(struct reader *reader, const void *data, uint32_t len, struct error *err)
{
    const struct record_bias *biases = data;
    const uint32_t num_biases = len / sizeof(*biases);
    if (reader->submit->biases != NULL)
        return twice("logit_bias", err);
    if (len % sizeof(*biases) != 0)
        return error_set(err, -EPROTO,
                         "SUBMIT logit_bias item of %u bytes, must be a multiple of %zu", len,
                         sizeof(*biases));
    if (num_biases > RECORD_MAX_BIASES)
        return error_set(err, -EPROTO, "SUBMIT logit_bias has %u entries, at most %d are allowed",
                         num_biases, RECORD_MAX_BIASES);
    reader->submit->biases = biases;
    reader->submit->num_biases = num_biases;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < num_biases; i++)
        r = check_bias(&biases[i], i, reader->bounds, err);
    return r;
}

static int check_words(const int32_t *words, uint32_t len, const struct record_bounds *bounds,
                       struct error *err)
{
    uint32_t num_words = 0;
    for (uint32_t at = 0; at < len; num_words++) {
        const int32_t num_ids = words[at++];
        if (num_ids < 1 || num_ids > RECORD_MAX_BAD_WORD_IDS || (uint32_t)num_ids > len - at)
            return error_set(err, -EPROTO,
                             "SUBMIT bad_words: word %u of %d ids, must be in [1, %d] and at most "
                             "the %u that follow",
                             num_words, num_ids, RECORD_MAX_BAD_WORD_IDS, len - at);
        const int r = check_ids("bad_words", words + at, (uint32_t)num_ids, bounds, err);
        if (r < 0)
            return r;
        at += (uint32_t)num_ids;
    }
    if (num_words > RECORD_MAX_BAD_WORDS)
        return error_set(err, -EPROTO, "SUBMIT bad_words has %u words, at most %d are allowed",
                         num_words, RECORD_MAX_BAD_WORDS);
    return 0;
}

static int read_list(struct reader *reader, const struct id_list *list, const void *data,
                     uint32_t len, struct error *err)
{
    const uint32_t num_ids = len / sizeof(int32_t);
    const uint32_t max = list->max > 0 ? list->max : (uint32_t)reader->bounds->vocab_size;
    if (*list_ids(list, reader->submit) != NULL)
        return twice(list->name, err);
    if (num_ids > max)
        return error_set(err, -EPROTO, "SUBMIT %s has %u entries, at most %u are allowed",
                         list->name, num_ids, max);
    *list_ids(list, reader->submit) = data;
    *list_num(list, reader->submit) = num_ids;
    if (list->type == RECORD_ITEM_BAD_WORDS)
        return check_words(data, num_ids, reader->bounds, err);
    return check_ids(list->name, data, num_ids, reader->bounds, err);
}

static const struct id_list *find_list(uint32_t type)
{
    for (int i = 0; i < NUM_ID_LISTS; i++)
        if ((uint32_t)id_lists[i].type == type)
            return &id_lists[i];
    return NULL;
}

static int read_item(struct reader *reader, const struct record_item *item, const void *data,
                     struct error *err)
{
    const struct id_list *list = find_list(item->type);
    if (item->type != RECORD_ITEM_PARAMS && reader->submit->params == NULL)
        return error_set(err, -EPROTO, "SUBMIT begins with item type %u, must be params (%d)",
                         item->type, RECORD_ITEM_PARAMS);
    if (list != NULL)
        return read_list(reader, list, data, item->len, err);
    switch (item->type) {
    case RECORD_ITEM_PARAMS:
        return read_params(reader, data, item->len, err);
    case RECORD_ITEM_PROMPT:
        return read_prompt(reader, data, item->len, err);
    case RECORD_ITEM_CHOICE:
        return read_choice(reader, data, item->len, err);
    case RECORD_ITEM_LOGIT_BIAS:
        return read_biases(reader, data, item->len, err);
    default:
        return error_set(err, -EPROTO, "SUBMIT item type %u is not known", item->type);
    }
}

static int read_items(struct reader *reader, const char *bulk, size_t len, struct error *err)
{
    struct record_item item;
    for (size_t at = 0; at < len; at += sizeof(item) + item.len) {
        if (len - at < sizeof(item))
            return error_set(err, -EPROTO, "SUBMIT ends inside an item's header, %zu bytes of %zu",
                             len - at, sizeof(item));
        memcpy(&item, bulk + at, sizeof(item));
        if (item.len % 4 != 0 || item.len > len - at - sizeof(item))
            return error_set(err, -EPROTO,
                             "SUBMIT item type %u says %u bytes, must be a multiple of 4 and at "
                             "most the %zu that follow",
                             item.type, item.len, len - at - sizeof(item));
        const int r = read_item(reader, &item, bulk + at + sizeof(item), err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_whole(const struct record_submit *submit, struct error *err)
{
    if (submit->params == NULL)
        return error_set(err, -EPROTO, "SUBMIT is empty, a params item is needed");
    if (submit->prompt == NULL)
        return error_set(err, -EPROTO, "SUBMIT has no prompt item, exactly one is needed");
    if (submit->num_choices == 0)
        return error_set(err, -EPROTO, "SUBMIT has no choice item, at least one is needed");
    return 0;
}

int record_submit_decode(const void *bulk, size_t len, const struct record_bounds *bounds,
                         struct record_submit *ret_submit, struct error *err)
{
    struct record_submit submit = { 0 };
    struct reader reader = { .bounds = bounds, .submit = &submit };
    if (len % 4 != 0)
        return error_set(err, -EPROTO, "SUBMIT of %zu bytes, must be a multiple of 4", len);
    int r = read_items(&reader, bulk, len, err);
    if (r == 0)
        r = check_whole(&submit, err);
    if (r == 0)
        *ret_submit = submit;
    return r;
}

/* ------------------------------------------------------------------ ends */

static bool holds(const int32_t *ids, uint32_t num_ids, int32_t id)
{
    for (uint32_t i = 0; i < num_ids; i++)
        if (ids[i] == id)
            return true;
    return false;
}

bool record_is_eos(const struct record_submit *submit, int32_t id)
{
    return (submit->params->flags & RECORD_IGNORE_EOS) == 0 &&
           holds(submit->eos_ids, submit->num_eos_ids, id);
}

bool record_is_stop(const struct record_submit *submit, int32_t id)
{
    return !record_is_eos(submit, id) && holds(submit->stop_ids, submit->num_stop_ids, id);
}

/* ------------------------------------------------------------------ words */

uint64_t record_join(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

const char *record_failure_name(enum record_failure failure)
{
    static const char *const names[] = {
        [RECORD_FAILURE_QUEUE_FULL] = "queue_full",
        [RECORD_FAILURE_QUEUED_TOKENS] = "queued_tokens_exceeded",
        [RECORD_FAILURE_DEADLINE] = "deadline_exceeded",
        [RECORD_FAILURE_DRAINING] = "draining",
        [RECORD_FAILURE_TOO_LONG] = "too_long",
        [RECORD_FAILURE_NAN_LOGITS] = "nan_logits",
        [RECORD_FAILURE_INTERNAL] = "internal_error",
        [RECORD_FAILURE_WORKER] = "worker_failed",
        [RECORD_FAILURE_MODEL_CHANGED] = "model_changed",
    };
    const size_t num_names = sizeof(names) / sizeof(names[0]);
    return (size_t)failure < num_names && names[failure] != NULL ? names[failure] : "unknown";
}
