/*
 * wire_logprobs.h - log-probabilities of tokens as JSON, in the form of either endpoint
 *
 * Entries collect in a struct wire_logprobs, which is written out (and emptied, in a stream)
 * with the text they belong to:
 *
 *     chat         {"content":[{"token","logprob","bytes","top_logprobs":[...]}],"refusal":null}
 *     completions  {"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]}
 *
 * Private to proto/wire/.
 */
#ifndef PROTO_WIRE_WIRE_LOGPROBS_H
#define PROTO_WIRE_WIRE_LOGPROBS_H

#include "proto/wire/wire_answer.h"

enum { WIRE_LOGPROB_LISTS = 4 };

/* What one choice has collected. */
struct wire_logprobs {
    struct strbuf lists[WIRE_LOGPROB_LISTS]; /* elements with commas; chat uses the first */
    uint32_t num_waiting;                    /* entries not yet written */
    uint64_t num_written;

    /* Where in the choice's text the next token begins: what was said up to the event at hand,
     * and how much of that no token has covered yet. */
    uint64_t num_chars;
    size_t open_bytes;
    uint64_t open_chars;
};

/* How tokens are spelled, and memory for one of them. */
struct wire_spelling {
    bool as_ids;
    uint32_t num_top; /* alternatives asked for, of those that a token brings */
    wire_token_bytes token_bytes;
    const void *token_owner;
    struct strbuf text, keys;
};

/*
 * "prompt_logprobs" of a prompt whose tokens are the event's: null for the first, then an object
 * for each position, keyed by token id: the position's own token, and the `num_top` best.
 */
void wire_prompt_logprobs_write(const struct answer_event *event, uint32_t num_top,
                                struct wire_spelling *spelling, struct strbuf *out);

void wire_logprobs_finish(struct wire_logprobs *logprobs);

/* Add the tokens of an event, whose text is the next of the choice. */
void wire_logprobs_add(struct wire_logprobs *logprobs, enum wire_endpoint endpoint,
                       const struct answer_event *event, struct wire_spelling *spelling);

/* Append the object and forget its entries. */
void wire_logprobs_write(struct wire_logprobs *logprobs, enum wire_endpoint endpoint,
                         struct strbuf *out);

#endif
