/*
 * hooks.h - requests that end or stop their engine, for tests of what happens then
 *
 * Compiled into tests/e2e/tokenring_hooked alone, in place of nothing in worker/flight.c. A bad
 * address is written to by an operation of the step's list, once: while the file that
 * $TOKENRING_HOOK_ONCE names is there.
 */
#ifndef TESTS_E2E_HOOKS_H
#define TESTS_E2E_HOOKS_H

#include <stdlib.h>
#include <unistd.h>

#include "worker/engine_internal.h"

enum {
    HOOK_CRASH = 471,
    HOOK_CRASH_LATE = 472,
    HOOK_HANG = 473,
    HOOK_ADDRESS = 474,
    HOOK_LATE_TOKENS = 20
};

/* Of nobody, on any device. */
#define HOOK_NOWHERE ((float *)(uintptr_t)0x700000000000u)

static inline void hook_address(const struct engine *engine)
{
    const char *once = getenv("TOKENRING_HOOK_ONCE");
    if (once != NULL && unlink(once) == 0)
        engine->backend->clamp(engine->device, HOOK_NOWHERE, 0.0f, 1.0f, 64, 64);
}

/* What a request does is its max_tokens: no other test asks for so many. */
static inline void hook_row(const struct engine *engine, const struct sequence *sequence)
{
    const uint32_t what = sequence->request->params.max_tokens;
    if (what == HOOK_CRASH ||
        (what == HOOK_CRASH_LATE && sequence_num_output(sequence) >= HOOK_LATE_TOKENS))
        abort();
    while (what == HOOK_HANG)
        pause();
    if (what == HOOK_ADDRESS && sequence_num_output(sequence) >= HOOK_LATE_TOKENS)
        hook_address(engine);
}

static inline void hook_step(const struct engine *engine, const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++)
        hook_row(engine, plan->rows[i].sequence);
}

#endif
