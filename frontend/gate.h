/*
 * gate.h - who may come in just now: refusals that need no look at the body
 *
 * Draining, no engine, limits of the key, a full queue; and later, when the prompt's length is
 * known, deadlines that cannot be met. Whatever is refused here is told when to come again.
 */
#ifndef FRONTEND_GATE_H
#define FRONTEND_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/wire_error.h"

struct frontend;
struct http_caller;

bool gate_admits(const struct frontend *frontend, const struct http_caller *caller,
                 struct wire_error *error);

/*
 * Can the first token be there in time? What is known is how fast requests leave the queue and how
 * fast prompts are computed; an answer's length is not.
 *
 * Returns false with DEADLINE_EXCEEDED when no time is left, and with DEADLINE_UNREACHABLE when it
 * is less than the first token takes.
 */
bool gate_can_meet(const struct frontend *frontend, const struct http_caller *caller,
                   int64_t left_us, uint64_t num_tokens, struct wire_error *error);

/* When an engine, or the one being loaded, may take a request; 0: not known. */
uint32_t gate_retry_after_ms(const struct frontend *frontend);

#endif
