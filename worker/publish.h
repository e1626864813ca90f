/*
 * publish.h - what a request owes its frontend, as cells of the ring
 *
 * In this order: STARTED; of each choice LOGPROBS and the TOKENS that they belong to, scores of
 * the prompt first, then DONE; or FAILED, after which nothing comes. What does not fit stays in
 * the sequence and goes out with a later step.
 *
 * Pure but for the ring; engine thread only; allocates nothing.
 */
#ifndef WORKER_PUBLISH_H
#define WORKER_PUBLISH_H

#include "worker/link.h"
#include "worker/sequence.h"

/* Returns false when the ring had no room for all of it. */
bool publish_request(struct link *link, struct request *request);

/* Everything of this sequence, its DONE included. */
bool publish_sequence(struct link *link, struct sequence *sequence);

#endif
