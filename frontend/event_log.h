/*
 * event_log.h - answer events kept for a client that reads slowly
 *
 * A stream whose buffer is full formats no more text; its events wait here in a compact form and
 * are replayed in order. Events of text without tokens that follow each other for one choice
 * become one, so the log grows by the bytes of the answer, which max_tokens bounds.
 */
#ifndef FRONTEND_EVENT_LOG_H
#define FRONTEND_EVENT_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "proto/records/answer.h"

/* An empty log is a zeroed struct. */
struct event_log {
    struct strbuf records;
    size_t head;      /* of the next record to hand out */
    size_t last;      /* of the newest record, which may still grow */
    bool drop_tokens; /* keep text alone: nobody writes log-probabilities */
};

bool event_log_is_empty(const struct event_log *log);

/* Copy the event. False: out of memory. */
bool event_log_push(struct event_log *log, const struct answer_event *event);

/* The oldest event; its pointers are valid until the next call. False: there is none. */
bool event_log_pop(struct event_log *log, struct answer_event *ret_event);

void event_log_finish(struct event_log *log);

#endif
