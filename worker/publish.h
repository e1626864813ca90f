/*
 * publish.h - what requests owe their frontend, as cells of its ring
 *
 * A request that has something to say is in its link's list. What it says, in this order:
 * STARTED; of each choice LOGPROBS and the TOKENS that they belong to, scores of the prompt
 * first, then DONE; or FAILED, after which nothing comes. What does not fit stays in the
 * sequences and goes out with a later step.
 *
 * Engine thread only; allocates nothing.
 */
#ifndef WORKER_PUBLISH_H
#define WORKER_PUBLISH_H

#include "worker/link.h"
#include "worker/scheduler.h"

/* The request has something to say. */
void publish_owe(struct link *link, struct request *request);

/* Nothing more is said about it: it leaves link, scheduler and table. */
void publish_drop(struct link *link, struct scheduler *scheduler, struct request *request);

/*
 * Push what is owed, and show it. Requests that have said everything are dropped and counted in
 * *ret_num_ended. Returns false when the ring had no room for all.
 */
bool publish_all(struct link *link, struct scheduler *scheduler, int32_t *ret_num_ended);

#endif
