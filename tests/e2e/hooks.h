/*
 * hooks.h - requests that end or stop their engine, for tests of what happens then
 *
 * Compiled into tests/e2e/tokenring_hooked alone, in place of nothing in worker/flight.c.
 */
#ifndef TESTS_E2E_HOOKS_H
#define TESTS_E2E_HOOKS_H

#include <stdlib.h>
#include <unistd.h>

#include "worker/scheduler.h"

enum { HOOK_CRASH = 471, HOOK_CRASH_LATE = 472, HOOK_HANG = 473, HOOK_LATE_TOKENS = 20 };

/* What a request does is its max_tokens: no other test asks for so many. */
static inline void hook_row(const struct sequence *sequence)
{
    const uint32_t what = sequence->request->params.max_tokens;
    if (what == HOOK_CRASH ||
        (what == HOOK_CRASH_LATE && sequence_num_output(sequence) >= HOOK_LATE_TOKENS))
        abort();
    while (what == HOOK_HANG)
        pause();
}

static inline void hook_step(const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++)
        hook_row(plan->rows[i].sequence);
}

#endif
