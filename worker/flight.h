/*
 * flight.h - a step on its way: recorded, started, landed
 *
 * One is in the air at a time. The next is prepared meanwhile: all that a step needs but what the
 * one before draws, which its list takes on the device. It starts when that one has landed, so
 * that the status page always names the step that runs: `step` + 1.
 */
#ifndef WORKER_FLIGHT_H
#define WORKER_FLIGHT_H

#include "worker/engine_internal.h"

/* Tell the survivors who takes part, and record the list (beside followers it is recorded when they
 * are told of it). One may be in the air. */
void flight_prepare(struct engine *engine, const struct plan *plan);

/* Start what was prepared; none is in the air. Returns 0, or what the device or the followers'
 * memory said. */
int flight_start(struct engine *engine, const struct plan *plan);

/* Wait for the one in the air for `us` at most: 1 when it is over (flight_wait() then returns at
 * once), 0, or what the device said. */
int flight_wait_for(struct engine *engine, int64_t us);

/* Wait until the one in the air has landed. Returns 0 or what the device said. */
int flight_wait(struct engine *engine);

/* A step that nobody asked for, from record to wait. */
int flight_measure(struct engine *engine, const struct plan *plan);

#endif
