/*
 * generation.h - one request for generated text, from its admission to the end of its answer
 *
 *     admission.c: prepare -> submit    generation.c: events -> wire -> HTTP
 *
 * Nothing is sent before the engine accepted or refused. A client that leaves cancels, whatever
 * the state. The record frees itself when its answer is complete or its client is gone.
 */
#ifndef FRONTEND_GENERATION_H
#define FRONTEND_GENERATION_H

#include <stdbool.h>

#include "base/strbuf.h"
#include "frontend/event_log.h"
#include "frontend/session/session.h"
#include "proto/wire/wire_answer.h"
#include "proto/wire/wire_error.h"
#include "proto/wire/wire_request.h"

struct frontend;
struct http_request;

enum generation_phase {
    GENERATION_PREPARING,
    GENERATION_QUEUED,
    GENERATION_PREFILL,
    GENERATION_DECODE
};

struct generation {
    struct generation *previous, *next;
    struct frontend *frontend;
    struct http_request *http;
    enum wire_endpoint endpoint;
    enum generation_phase phase;
    struct account *account;         /* whose request it is; NULL: nobody's */
    struct generation **aside;       /* the side job's pointer to this; NULL: none */
    struct session_request *session; /* in the engine */
    struct wire_answer *answer;
    bool stream, done;
    bool failed; /* before anything was sent: `error` is the answer */
    struct wire_error error;
    struct strbuf folded; /* not streaming: the body to come */
    struct event_log log; /* streaming to a slow client: what is not formatted yet */
};

/* A record attached to its request; NULL: out of memory. */
struct generation *generation_create(struct frontend *frontend, struct http_request *request,
                                     enum wire_endpoint endpoint);

/* Answer with the error and free the record. */
void generation_refuse(struct generation *g, const struct wire_error *error);
void generation_count_refusal(const struct frontend *frontend, enum wire_code code);

/* What the session calls: for each event, and once behind a batch of them. */
void generation_on_event(void *owner, const struct answer_event *event);
void generation_flush(void *owner);

/* Refuse those that have waited for longer than --queue-timeout. Once a second. */
void generation_expire_queued(struct frontend *frontend, int64_t now_us);

/* End every answer: streams with an error event, the others with an error. */
void generation_cut_all(struct frontend *frontend);

#endif
