/*
 * warm_up.h - the first steps: touch what will be used, measure, choose the token budget
 *
 * A step should take at most WARM_UP_STEP_US, so that cancellation, other streams and the
 * supervisor's watch stay prompt on a slow machine; but it should not be smaller than
 * WARM_UP_MIN_TOKENS, where a chunk's work no longer pays for reading the weights.
 */
#ifndef WORKER_WARM_UP_H
#define WORKER_WARM_UP_H

#include "worker/engine.h"

enum { WARM_UP_STEP_US = 250 * 1000, WARM_UP_MIN_TOKENS = 64, WARM_UP_MAX_TOKENS = 2048 };

/*
 * Run a few steps of made-up tokens. The budget becomes what fits in WARM_UP_STEP_US when
 * `choose` is true; it never exceeds the engine's limits. It has no influence on results.
 *
 * Returns the budget, or a negative errno of the device.
 */
int32_t warm_up(struct engine *engine, const struct scheduler_limits *limits, bool choose);

#endif
