/*
 * engine.h - the step: admit, plan, execute, publish
 *
 * The engine owns the scheduler, the KV pools, the batch arrays and the links to the frontends.
 * It is driven by one thread:
 *
 *     for (;;)
 *         if (engine_step(engine) == 0)
 *             engine_idle(engine, 500 * 1000);
 *
 * After engine_create() a step neither allocates nor makes a system call but a futex (in the
 * backend) and the doorbell's write.
 */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include "shm/broadcast.h"
#include "shm/status.h"
#include "worker/link.h"
#include "worker/model/model.h"
#include "worker/scheduler.h"

struct engine;

struct engine_options {
    const struct backend *backend;
    struct device *device;
    struct model *model; /* of at least limits.max_num_batched_tokens rows, max_logits logits */
    struct scheduler_limits limits;
    struct status_page *page; /* own: counters, steps, heartbeat */
    int doorbell;             /* own */
    struct comm *comm;        /* of a leader with followers, else NULL */
    bool without_overlap;     /* plan a step when the one before has ended, not while it runs */
    /* A frontend whose memory broke a rule, or that reads nothing: its link is gone already. */
    void (*report)(void *context, uint32_t frontend, const char *text);
    void *context;
};

/* Takes all memory. Returns 0, -ENOMEM with what was asked. The options' objects stay the
 * caller's and outlive the engine. */
int engine_create(const struct engine_options *options, struct engine **ret_engine,
                  struct error *err);
void engine_destroy(struct engine *engine); /* accepts NULL */

/* Join a frontend; an earlier link of that number is dropped. The link moves in. */
void engine_connect(struct engine *engine, uint32_t frontend, struct link *link);

/* Cancel all requests of the frontend and forget its link. */
void engine_disconnect(struct engine *engine, uint32_t frontend);

/* One step. Returns 1; 0 when there was nothing to do; a negative errno of the device; -EBADMSG
 * when another rank found other tokens. */
int engine_step(struct engine *engine);

/* Why a step returned `r`: a sentence. */
void engine_explain(const struct engine *engine, int r, struct error *err);

/* Spin briefly, then sleep until something may have arrived, at most `max_us`. */
void engine_idle(struct engine *engine, int64_t max_us);

/*
 * Compute `num_tokens` positions of a made-up sequence, sampling included, and return the time
 * in microseconds (or a negative errno). Only before the first frontend joins.
 */
int64_t engine_measure(struct engine *engine, int32_t num_tokens);

/* Change the token budget, down from that of the options; and what steps are expected to cost. */
void engine_set_budget(struct engine *engine, int32_t max_num_batched_tokens);
void engine_set_cost(struct engine *engine, double first_us, double each_us);

/* For tests: nothing runs, waits, or holds a block or a seat. */
bool engine_is_empty(const struct engine *engine);

#endif
