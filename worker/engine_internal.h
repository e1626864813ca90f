/*
 * engine_internal.h - the struct that the engine's files share
 *
 *     engine.c         life, the order of a step, warm-up
 *     intake.c         what arrives, deadlines
 *     flight.c         a plan on its way through the device
 *     followers.c      and through the other ranks
 *     results.c        what a finished step gave
 *     engine_links.c   frontends, and what they are told
 *     engine_idle.c    nothing to do
 *     capture.c        steps that the device keeps
 */
#ifndef WORKER_ENGINE_INTERNAL_H
#define WORKER_ENGINE_INTERNAL_H

#include "worker/batch.h"
#include "worker/engine.h"
#include "worker/meter.h"

struct engine {
    struct engine_options options;
    const struct backend *backend;
    struct device *device;
    struct reserve reserve;
    struct scheduler scheduler;
    struct batch batches[2];   /* in turn */
    int32_t newest;            /* of them */
    const struct plan *in_air; /* started, its results not taken yet; NULL: none */
    const struct plan *behind; /* sent too, waits on the device for that one's end; NULL: none */
    int32_t in_air_batch;      /* which one was built of it */
    int64_t landed_us;         /* when its own part was over; 0: it is not */
    bool has_ended;            /* in the other ranks, too */
    struct kv_pool *pool;
    struct record_bounds bounds;
    bool captures;     /* what is recorded next, the device keeps */
    uint64_t captured; /* of the device's graph_rows(): bits of what it was told to keep */
    struct link links[CONTROL_MAX_FRONTENDS];
    bool is_blocked;          /* some ring was full */
    int64_t next_deadline_us; /* no request's deadline is earlier */
    struct meter meter;
    int32_t *plan_words;  /* what the followers get; NULL: there are none */
    struct error problem; /* another rank's; no message: none */
};

#endif
