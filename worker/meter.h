/*
 * meter.h - what steps cost and what the engine is doing, as told on the status page
 *
 * The supervisor takes an engine for hung when a step takes many times what was expected of it,
 * so the expectation is made of two measured numbers, the cost of a step's first position and of
 * each other, and follows what steps have really cost.
 */
#ifndef WORKER_METER_H
#define WORKER_METER_H

#include "shm/status.h"
#include "worker/scheduler.h"

struct meter {
    struct status_page *page;
    double first_us, each_us;
    double busy_us, num_ends; /* of the last while: time in steps, and requests that ended in it */
    int64_t busy_until_us, step_started_us;
};

/* How long such a step should take. */
uint64_t meter_expected_us(const struct meter *meter, const struct plan *plan);

void meter_begin_step(struct meter *meter, const struct plan *plan, int64_t now);
void meter_end_step(struct meter *meter, const struct plan *plan, int64_t now);

/* When the step that runs has most of its time behind it, by what was expected. */
int64_t meter_near_end_us(const struct meter *meter);

/* Gauges of the scheduler, and a heartbeat. */
void meter_show(struct meter *meter, const struct scheduler *scheduler);

void meter_note_ends(struct meter *meter, int32_t num_requests, int64_t now);

/* When those who wait will have started, as fast as requests have ended lately: what a client that
 * is refused is told. At most 50 s; 0: not known. */
uint32_t meter_retry_after_ms(const struct meter *meter, int32_t num_waiting);

#endif
