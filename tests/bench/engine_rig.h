/*
 * engine_rig.h - Ringlet, an engine and a frontend's seat in one process, for measurements
 *
 * Whatever fails ends the process with a sentence.
 */
#ifndef TESTS_BENCH_ENGINE_RIG_H
#define TESTS_BENCH_ENGINE_RIG_H

#include "worker/engine.h"

struct engine_rig_options {
    int32_t num_seqs;
    bool is_dry; /* record, and never run: each token drawn is the same */
    bool without_overlap;
};

struct engine_rig {
    const struct backend *cpu;
    struct backend backend;
    struct device *device;
    struct model *model;
    struct status_page *page;
    struct engine *engine;
    struct ring_end end; /* the frontend's */
    int doorbell, frontend_doorbell;
    uint64_t num_submitted;
};

/* CPU time of this thread. */
int64_t engine_rig_now_ns(void);

/* Of a dry rig: for how long the device had nothing to do before it got its newest list. */
int64_t engine_rig_gap_ns(void);

void engine_rig_open(struct engine_rig *rig, const struct engine_rig_options *options);
void engine_rig_close(struct engine_rig *rig);

/* A prompt of its own; the answer has `num_tokens`. */
void engine_rig_submit(struct engine_rig *rig, int32_t num_prompt, int32_t num_tokens);

/* Take what was answered. Returns how many answers ended. */
int32_t engine_rig_take(struct engine_rig *rig);

#endif
