/*
 * results.h - what a finished step gave: tokens, log-probabilities, ends
 */
#ifndef WORKER_RESULTS_H
#define WORKER_RESULTS_H

#include "worker/engine_internal.h"

/* Of a plan whose batch has run, into the sequences; who has something to say is in its link's
 * list. What sequences would have got that have ended meanwhile is nobody's. */
void results_take(struct engine *engine, const struct plan *plan, const struct batch *batch);

#endif
