/*
 * fuzz_request.c - any bytes as a request body
 *
 * The first byte chooses endpoint and limits, the rest is the body. What is accepted makes a SUBMIT
 * that an engine accepts; what is refused is refused in words that are valid JSON.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "proto/wire/wire_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOCAB_SIZE = 1024, CONTEXT = 2048 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void require_error(const struct wire_error *error)
{
    struct strbuf out = { 0 };
    struct error err;
    json_t *value = NULL;
    const int status = wire_codes[error->code].status;
    require(status == 400 || status == 404 || status == 500);
    require(error->message[0] != '\0');
    wire_error_write(error, &out);
    require(json_read(out.data, out.len, &json_limits_request, &value, &err) == 0);
    json_decref(value);
    strbuf_finish(&out);
}

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

/* As a frontend does it: the prompt is known, so max_tokens can be filled in or clamped. */
static void require_submit(struct wire_request *request, const int32_t *prompt, uint32_t num_prompt)
{
    const struct record_bounds bounds = { .vocab_size = VOCAB_SIZE, .max_model_len = CONTEXT };
    struct record_submit submit = { .params = &request->params,
                                    .prompt = prompt,
                                    .num_prompt = num_prompt,
                                    .biases = request->biases,
                                    .num_biases = request->num_biases,
                                    .stop_ids = request->stop_ids,
                                    .num_stop_ids = request->num_stop_ids,
                                    .allowed_ids = request->allowed_ids,
                                    .num_allowed_ids = request->num_allowed_ids },
                         got;
    struct error err;
    struct record_params *params = &request->params;
    const uint32_t left = CONTEXT - num_prompt;
    if (!request->has_max_tokens || params->max_tokens == 0)
        params->max_tokens = request->has_max_tokens ? 1 : left;
    params->max_tokens = at_most(params->max_tokens, left);
    params->min_tokens = at_most(params->min_tokens, params->max_tokens);
    submit.num_choices = params->num_choices;
    for (uint32_t i = 0; i < submit.num_choices && i < RECORD_MAX_CHOICES; i++)
        submit.choices[i].index = i;
    const size_t len = record_submit_bytes(&submit);
    void *bulk = malloc(len);
    require(bulk != NULL);
    record_submit_encode(&submit, bulk);
    require(record_submit_decode(bulk, len, &bounds, &got, &err) == 0);
    free(bulk);
}

static void require_promises(struct wire_request *request)
{
    static const int32_t token = 1;
    require(request->num_stops <= WIRE_MAX_STOPS);
    for (uint32_t i = 0; i < request->num_stops; i++) {
        require(request->stop_lens[i] >= 1 && request->stop_lens[i] <= 1024);
        require(memchr(request->stops[i], '\0', request->stop_lens[i]) == NULL);
        require(utf8_valid_prefix(request->stops[i], request->stop_lens[i]) ==
                request->stop_lens[i]);
    }
    require(request->num_bad_words <= WIRE_MAX_BAD_WORDS);
    for (uint32_t i = 0; i < request->num_bad_words; i++)
        require(request->bad_words[i].len >= 1 &&
                strlen(request->bad_words[i].data) == request->bad_words[i].len);
    require(request->cache_salt.len <= 128 && request->request_id.len <= 128);
    require(request->prompt_logprobs <= request->params.num_prompt_logprobs);
    require((request->endpoint == WIRE_CHAT) == (request->messages != NULL));
    require((uint64_t)request->num_prompts * request->params.num_choices <= WIRE_MAX_ROWS);
    require(request->echo || !request->has_max_tokens || request->params.max_tokens > 0);
    for (uint32_t i = 0; i < request->num_prompts; i++)
        if (request->prompts[i].text == NULL && request->prompts[i].num_ids < CONTEXT)
            require_submit(request, request->prompts[i].ids, request->prompts[i].num_ids);
    require_submit(request, &token, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct wire_limits limits = { .strict = (data[0] & 2) != 0,
                                        .vocab_size = VOCAB_SIZE,
                                        .max_model_len = CONTEXT,
                                        .max_logprobs = 20,
                                        .temperature = 1.0,
                                        .top_p = 1.0,
                                        .repetition_penalty = 1.0 };
    struct wire_request request;
    struct wire_error error = { 0 };
    struct error err;
    struct arena arena;
    json_t *body = NULL;
    arena_init(&arena, (data[0] & 4) != 0 ? 64 : 1 << 24);
    if (json_read((const char *)data + 1, size - 1, &json_limits_request, &body, &err) == 0) {
        if (wire_request_parse(data[0] & 1, body, &limits, &arena, &request, &error) == 0)
            require_promises(&request);
        else
            require_error(&error);
    }
    json_decref(body);
    arena_finish(&arena);
    return 0;
}
