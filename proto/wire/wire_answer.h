/*
 * wire_answer.h - answer events to OpenAI JSON: server-sent events, or one folded object
 *
 * One writer per request. Streaming: wire_answer_event() appends whole SSE events. Not
 * streaming: the same calls fold the same events, and END appends the object. Chunk order,
 * usage, logprobs forms and finish reasons are those of the OpenAI API.
 *
 * ACCEPTED writes nothing: the status is the caller's. After END, FAILED or an error nothing is
 * written any more. Buffers are kept between events, so a token of a running stream allocates
 * nothing. One thread.
 */
#ifndef PROTO_WIRE_WIRE_ANSWER_H
#define PROTO_WIRE_WIRE_ANSWER_H

#include "base/strbuf.h"
#include "proto/records/answer.h"
#include "proto/wire/wire_request.h"

struct wire_answer;

/* The exact bytes of a token: alternatives in logprobs come as ids only. As tokenizer_bytes(). */
typedef const char *(*wire_token_bytes)(const void *owner, int32_t id, size_t *ret_len);

struct wire_answer_options {
    enum wire_endpoint endpoint;
    bool stream, include_usage, continuous_usage;
    bool logprobs;    /* write logprobs objects */
    uint32_t num_top; /* top_logprobs / logprobs asked for */
    uint32_t num_choices;
    /* ANSWER_PROMPT's tokens become prompt_logprobs, and its text is shown for echo alone.
     * Without them it is shown always: it was sent for that. */
    bool prompt_logprobs, echo;
    uint32_t num_prompt_top;
    const struct wire_prompt *prompts; /* with return_token_ids: the ids; or NULL */
    uint32_t num_prompts;              /* at least 1; num_choices is a multiple of it */
    bool return_token_ids;
    bool return_token_ids_as_text; /* tokens spelled token_id:123 */
    bool service_tier;             /* the request named one: "default" is told back */
    const char *id;                /* "chatcmpl-..." / "cmpl-..."; copied */
    const char *model;
    const char *system_fingerprint;
    int64_t created;              /* seconds */
    wire_token_bytes token_bytes; /* NULL: alternatives are spelled token_id:123 */
    const void *token_owner;
    const char *request_id;
};

int wire_answer_create(const struct wire_answer_options *options, struct wire_answer **ret_answer);
void wire_answer_destroy(struct wire_answer *answer);

/* Append what the event adds to the response. out->failed tells of a lack of memory. */
void wire_answer_event(struct wire_answer *answer, const struct answer_event *event,
                       struct strbuf *out);

/* Stream only: an error event and [DONE]; closes the answer. */
void wire_answer_error(struct wire_answer *answer, const struct wire_error *error,
                       struct strbuf *out);

/* Has END been written (or the error)? */
bool wire_answer_is_complete(const struct wire_answer *answer);

/* What ended the answer before its END, or NULL. In the folded form nothing was written then. */
const struct wire_error *wire_answer_failure(const struct wire_answer *answer);

#endif
