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

struct warm_up_result {
    int32_t max_num_batched_tokens;
    double first_us, each_us; /* a step of one token, and what each further one adds */
};

/*
 * Run a few steps of made-up tokens. The budget becomes what fits in WARM_UP_STEP_US when
 * `choose` is true; it never exceeds the engine's limits. It has no influence on results.
 *
 * Returns 0 or a negative errno of the device.
 */
int warm_up(struct engine *engine, const struct scheduler_limits *limits, bool choose,
            struct warm_up_result *ret_result);

/* As if that had been measured. */
void warm_up_adopt(struct engine *engine, const struct warm_up_result *result);

#endif
