/*
 * capture.h - steps of the usual shapes, kept by the device before anybody waits for them
 *
 * A device that starts a kept list faster than its operations (backend.h, capture()) is shown a
 * step of one new token for each of so many sequences, for all numbers that it names. They are made
 * up, and nobody gets their tokens.
 */
#ifndef WORKER_CAPTURE_H
#define WORKER_CAPTURE_H

#include "worker/engine.h"

/*
 * Before anybody waits: the largest number, which finds out whether there is memory for it, and the
 * small ones. *ret_num: how many were kept; 0 where the device has no use for it. Followers keep
 * theirs in the same step, by a word of its plan. Returns 0 or what the device said.
 */
int capture_first(struct engine *engine, int32_t *ret_num);

/* One more, if nobody waits and nothing is left of anybody: for idle moments. Returns 1 when there
 * was one, 0, or what the device said. */
int capture_next(struct engine *engine);

#endif
