/*
 * answer.h - what happens to an answer, as events: from the session to whoever writes it down
 *
 * The session (frontend/session/) turns ring records into these; the wire (proto/wire/) turns
 * them into OpenAI JSON, streamed or folded; `generate` prints them. An answer has `num_choices`
 * choices, numbered prompt * n + j. For each choice: any number of TEXT, then one FINISHED. Then
 * one END, or at any time one FAILED, after which nothing comes.
 *
 * All pointers are valid during the call that hands the event over.
 */
#ifndef PROTO_RECORDS_ANSWER_H
#define PROTO_RECORDS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/records/record.h"

enum answer_event_kind {
    ANSWER_ACCEPTED, /* every prompt is queued: the status can be sent */
    ANSWER_STARTED,  /* the first prompt was scheduled */
    ANSWER_PROMPT,   /* echo: text and tokens of one choice's prompt, before its TEXT */
    ANSWER_TEXT,
    ANSWER_FINISHED,
    ANSWER_END,
    ANSWER_FAILED,
};

enum answer_finish { ANSWER_FINISH_STOP, ANSWER_FINISH_LENGTH };

/* A token that belongs to an event's text: it ends in it, or is empty. */
struct answer_token {
    int32_t id;
    const char *bytes; /* exactly what the token stands for */
    size_t len;
    bool has_logprob; /* false: the first prompt token, or none were asked for */
    float logprob;
    int32_t rank; /* with has_logprob: 1 is the likeliest */
    uint32_t num_top;
    const struct record_logprob *top; /* [num_top], best first */
};

struct answer_usage {
    uint64_t prompt_tokens, completion_tokens, cached_tokens;
};

struct answer_event {
    enum answer_event_kind kind;
    uint32_t choice;
    const char *text; /* whole characters of UTF-8 */
    size_t text_len;
    const struct answer_token *tokens; /* FINISHED: those that were in no TEXT, without entries */
    size_t num_tokens;
    enum answer_finish finish;
    const char *stop_text; /* FINISHED by this stop string, or NULL */
    size_t stop_text_len;
    int32_t stop_id;             /* FINISHED by this id of stop_token_ids, or -1 */
    struct answer_usage usage;   /* FINISHED: so far; END: final */
    enum record_failure failure; /* FAILED */
    uint32_t retry_after_ms;
};

#endif
