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

/* What a prompt's choices have in common; each text is whole JSON, or empty for none. */
struct wire_prompt_facts {
    struct strbuf ids, logprobs;
};

struct wire_choice {
    uint32_t index;
    const struct wire_prompt_facts *prompt; /* completions: shown once; NULL from then on */
    bool shows_ids;
    struct strbuf ids; /* of tokens not yet written, with commas */
    struct strbuf text;
    struct wire_logprobs logprobs;
    bool is_finished;
    enum answer_finish finish;
    struct strbuf stop_reason; /* JSON; empty: null */
};

/* Members ,"prompt_token_ids":[...] and ,"prompt_logprobs":[...] for what there is. */
void wire_prompt_write(const struct wire_prompt_facts *prompt, struct strbuf *out);

/* "data: {" and what all chunks have in common, up to the list of choices / its end. `prompt` and
 * `usage` are NULL for none. */
void wire_chunk_begin(const struct strbuf *head, const struct wire_prompt_facts *prompt,
                      struct strbuf *out);
void wire_chunk_end(const char *usage, struct strbuf *out);

/* "usage" as an object. */
void wire_usage_write(const struct answer_usage *usage, struct strbuf *out);

/* Elements of "choices". */
void wire_choice_write_role(const struct wire_choice *choice, struct strbuf *out);
void wire_choice_write_delta(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                             struct strbuf *out);
void wire_choice_write_whole(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                             struct strbuf *out);

/* The ids of an event's tokens, to be shown with the next text. */
void wire_choice_add_ids(struct wire_choice *choice, const struct answer_event *event);

void wire_choice_finish(struct wire_choice *choice);

#endif
