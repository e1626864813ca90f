/*
 * wire_request.h - OpenAI request bodies, checked into plain structs
 *
 * Every known field is a row of the table in wire_params.c with its class (honoured, accepted
 * without effect, refused), type and range (docs/api.md). A breach is an error
 * with the status, type, param and code that a client sees. JSON `null` means absent; integers
 * may be written 5.0. Unknown fields are counted, or refused when `strict`.
 */
#ifndef PROTO_WIRE_WIRE_REQUEST_H
#define PROTO_WIRE_WIRE_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "proto/records/record.h"
#include "proto/wire/wire_error.h"

enum wire_endpoint { WIRE_CHAT, WIRE_COMPLETIONS };

enum {
    WIRE_MAX_STOPS = 64,
    WIRE_MAX_PROMPTS = 256,
    WIRE_MAX_ROWS = 256,
    WIRE_MAX_BAD_WORDS = 256,
    WIRE_MAX_ALLOWED_IDS = 65536,
};

struct wire_text {
    const char *data;
    size_t len;
};

/* What the server's configuration says about requests. */
struct wire_limits {
    bool strict;           /* unknown fields are refused */
    int32_t vocab_size;    /* of the logits; 0: not known yet, ids are not checked */
    int32_t max_model_len; /* 0: not known yet */
    int32_t max_logprobs;
    bool allow_priority; /* else a request's must be 0 */
    int64_t default_max_tokens;
    /* defaults of the model's generation_config.json (already resolved against the table of
     * docs/api.md) */
    double temperature, top_p, min_p, repetition_penalty;
    int32_t top_k;
};

struct wire_prompt {
    const char *text; /* NULL: given as ids */
    size_t text_len;
    const int32_t *ids;
    uint32_t num_ids;
};

struct wire_request {
    enum wire_endpoint endpoint;
    const char *model; /* "" when absent */
    size_t model_len;
    json_t *messages;             /* chat: checked, borrowed from the body */
    json_t *chat_template_kwargs; /* or NULL */
    bool add_generation_prompt, continue_final_message;
    struct wire_prompt *prompts; /* completions */
    uint32_t num_prompts;
    bool add_special_tokens;
    bool stream, include_usage, continuous_usage;
    bool echo, has_max_tokens;
    bool include_stop_in_output, keep_special_tokens;
    bool logprobs; /* chat: logprobs true; completions: logprobs given */
    bool seed_given;
    /* max_tokens 0 when absent (has_max_tokens false), or given as 0 beside echo. Whoever fills it
     * in or clamps it to the context clamps min_tokens too. */
    struct record_params params;
    struct record_bias *biases;
    uint32_t num_biases;
    const char *stops[WIRE_MAX_STOPS];
    size_t stop_lens[WIRE_MAX_STOPS];
    uint32_t num_stops;
    int32_t *stop_ids, *allowed_ids; /* allowed_ids: NULL: all are */
    uint32_t num_stop_ids, num_allowed_ids;
    struct wire_text *bad_words; /* none is empty, and none is white space alone */
    uint32_t num_bad_words;
    int32_t truncate_prompt; /* 0: not; -1: to what fits; k tokens */
    bool truncate_right;     /* keep the first tokens, not the last */
    int32_t prompt_logprobs; /* -1: none; those of params are more where echo shows them too */
    struct wire_text cache_salt, request_id; /* NULL: none; a request_id that is none is none */
    bool return_token_ids;
    double timeout;                /* seconds, 0: none */
    bool ignore_eos;               /* stands in params.flags too */
    bool return_token_ids_as_text; /* tokens of logprobs are spelled token_id:123 */
    bool service_tier_given;
    uint32_t num_unknown;              /* fields nobody knows */
    uint32_t num_content_parts_joined; /* parts of all contents that are arrays */
};

/*
 * Check a parsed body. Strings and arrays of the result lie in `body` (which must outlive it;
 * reasoning_effort is written into its chat_template_kwargs) or in `arena`.
 *
 * Returns 0, or -EINVAL with *error filled in (status, type, param, code, message).
 */
int wire_request_parse(enum wire_endpoint endpoint, json_t *body, const struct wire_limits *limits,
                       struct arena *arena, struct wire_request *ret_request,
                       struct wire_error *error);

#endif
