/*
 * wire_chunk.h - the JSON of one choice, as a chunk of a stream or as part of the whole object
 *
 * A choice collects text and log-probabilities; writing it out empties them. A stream writes
 * after each event, the folded object once: the same bytes pass through the same functions.
 * Private to proto/wire/.
 */
#ifndef PROTO_WIRE_WIRE_CHUNK_H
#define PROTO_WIRE_WIRE_CHUNK_H

#include "proto/wire/wire_logprobs.h"

struct wire_choice {
    uint32_t index;
    struct strbuf text;
    struct wire_logprobs logprobs;
    bool is_finished;
    enum answer_finish finish;
    struct strbuf stop_reason; /* JSON; empty: null */
};

/* "data: {" and what all chunks have in common, up to the list of choices / its end. `usage`
 * is NULL for none. */
void wire_chunk_begin(const struct strbuf *head, struct strbuf *out);
void wire_chunk_end(const char *usage, struct strbuf *out);

/* "usage" as an object. */
void wire_usage_write(const struct answer_usage *usage, struct strbuf *out);

/* Elements of "choices". */
void wire_choice_write_role(const struct wire_choice *choice, struct strbuf *out);
void wire_choice_write_delta(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                             struct strbuf *out);
void wire_choice_write_whole(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                             struct strbuf *out);

void wire_choice_finish(struct wire_choice *choice);

#endif
