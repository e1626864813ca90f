/*
 * results.h - what a finished step gave: tokens, log-probabilities, ends
 */
#ifndef WORKER_RESULTS_H
#define WORKER_RESULTS_H

#include "worker/engine_internal.h"

/* Into the sequences; who has something to say is in its link's list. */
void results_take(struct engine *engine, const struct plan *plan);

#endif
