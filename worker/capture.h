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
 * No step is in the air and nobody waits. *ret_num: how many were kept; 0 where the device has no
 * use for it, or other ranks would have to keep them at the same time. Returns 0 or what the device
 * said.
 */
int capture_steps(struct engine *engine, int32_t *ret_num);

#endif
