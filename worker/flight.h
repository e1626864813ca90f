/*
 * flight.h - a plan on its way: told to the survivors and the followers, enqueued, submitted
 */
#ifndef WORKER_FLIGHT_H
#define WORKER_FLIGHT_H

#include "worker/engine_internal.h"

/* Begin the step: returns 0 or what the device or the followers' memory said. */
int flight_launch(struct engine *engine, const struct plan *plan);

/* The same for a step that nobody asked for. */
int flight_compute(struct engine *engine, const struct plan *plan);

#endif
