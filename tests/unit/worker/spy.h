/*
 * spy.h - the cpu backend, watched where it samples: for tests that look at logits or spoil them
 *
 * One at a time in a process. A hook runs on the thread of the engine, when a list is submitted;
 * what is watched has run when submit() returns.
 */
#ifndef TESTS_UNIT_WORKER_SPY_H
#define TESTS_UNIT_WORKER_SPY_H

#include "kernels/backend.h"

struct spy {
    /* The rows that are about to be sampled; logits: [num][num_vocab]. NULL: not looked at. */
    void (*before)(const struct sample_row *rows, int32_t num, float *logits, int32_t num_vocab);
    /* The same rows with their results. NULL: not looked at. */
    void (*after)(const struct sample_row *rows, int32_t num);
};

/* `real` with the hooks; `real` itself without any. */
const struct backend *spy_on(const struct backend *real, const struct spy *spy);

#endif
