/*
 * fuzz_record.c - any bytes as the bulk of a SUBMIT
 *
 * What is accepted keeps every promise of record.h, and encodes to a SUBMIT that is accepted too.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/records/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct record_bounds bounds = { .vocab_size = 1024, .max_model_len = 2048 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void require_ids(const int32_t *ids, uint32_t num_ids)
{
    for (uint32_t i = 0; i < num_ids; i++)
        require(ids[i] >= 0 && ids[i] < bounds.vocab_size);
}

static void require_words(const int32_t *words, uint32_t len)
{
    require(len <= RECORD_MAX_BAD_WORDS_LEN);
    for (uint32_t at = 0; at < len; at += 1 + (uint32_t)words[at]) {
        require(words[at] >= 1 && words[at] <= RECORD_MAX_BAD_WORD_IDS);
        require((uint32_t)words[at] < len - at);
        require_ids(words + at + 1, (uint32_t)words[at]);
    }
}

static void require_promises(const struct record_submit *submit)
{
    const struct record_params *params = submit->params;
    require((int64_t)submit->num_prompt + params->max_tokens <= bounds.max_model_len);
    require(params->temperature >= 0.0f && params->temperature <= 2.0f);
    require(params->top_p > 0.0f && params->top_p <= 1.0f);
    require(submit->num_choices >= 1 && submit->num_choices <= params->num_choices);
    require_ids(submit->prompt, submit->num_prompt);
    require_ids(submit->eos_ids, submit->num_eos_ids);
    require_ids(submit->stop_ids, submit->num_stop_ids);
    require_ids(submit->allowed_ids, submit->num_allowed_ids);
    require_words(submit->bad_words, submit->bad_words_len);
    for (uint32_t i = 0; i < submit->num_choices; i++) {
        require(submit->choices[i].index < params->num_choices);
        require(submit->choices[i].num_ids < params->max_tokens);
        require_ids(submit->choices[i].ids, submit->choices[i].num_ids);
    }
    for (uint32_t i = 0; i < submit->num_biases; i++)
        require_ids(&submit->biases[i].token_id, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_submit submit, again;
    struct error err = { 0 };
    void *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    if (record_submit_decode(copy, size, &bounds, &submit, &err) == 0) {
        require_promises(&submit);
        const size_t len = record_submit_bytes(&submit);
        require(len <= size);
        void *bulk = malloc(len);
        if (bulk != NULL) {
            record_submit_encode(&submit, bulk);
            require(record_submit_decode(bulk, len, &bounds, &again, &err) == 0);
        }
        free(bulk);
    } else {
        require(err.message[0] != '\0');
    }
    free(copy);
    return 0;
}
