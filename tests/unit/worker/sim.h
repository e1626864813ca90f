/*
 * sim.h - the scheduler under a simulated device, for tests
 *
 * The device's "KV cache" stores for every position a hash of the tokens up to it, and its "model"
 * draws a token that is a function of that hash. A wrong block, a missing copy or a position
 * computed twice shows as a wrong hash; the tokens of a request are known beforehand, whatever
 * the schedule was. A list of the device reads what was true when it was made, and tokens where
 * they lie: what it reads must not change before it has run.
 *
 * One simulation at a time.
 */
#ifndef TESTS_UNIT_WORKER_SIM_H
#define TESTS_UNIT_WORKER_SIM_H

#include <check.h>

#include "worker/scheduler.h"

enum {
    SIM_VOCAB = 97,
    SIM_BLOCK = 4,
    SIM_MAX_LEN = 96,
    SIM_MAX_BLOCKS = 256,
    SIM_MAX_PARTS = 3,
    SIM_MAX_SEQS = 16,
    SIM_MAX_REQUESTS = 12000,
};

struct sim_request { /* what a request was made of */
    struct record_params params;
    int32_t prompt[SIM_MAX_LEN];
    int32_t num_prompt, num_choices, num_done;
    bool live, cancelled;
    int64_t started_step; /* 0: not yet */
    int32_t first_score;  /* next prompt position that has to be published */
};

/* A plan as the device gets it. */
struct sim_list {
    const struct plan *plan;
    struct sim_row {
        struct plan_row row;
        int32_t blocks[SIM_MAX_PARTS][SIM_MAX_LEN / SIM_BLOCK]; /* -1: not told */
        int32_t num_known;         /* tokens of the sequence that the host knew */
        const int32_t *last_token; /* where the token behind them will be */
        int32_t choice;
    } rows[SIM_MAX_SEQS];
    int32_t
        drawn[SIM_MAX_SEQS]; /* the next list reads it, and the one after that is made meanwhile */
    bool is_in_air, has_run;
};

struct sim {
    struct scheduler s;
    struct reserve reserve;
    uint64_t kv[SIM_MAX_BLOCKS][SIM_BLOCK];
    struct sim_list lists[2];
    int newest;    /* of them */
    bool is_ahead; /* plan a step while one runs */
    int32_t num_requests, num_live, num_preempted, num_copied, num_ahead, num_wasted;
    int64_t num_hit;
    bool is_shared;   /* prompts often begin like earlier ones */
    int32_t num_same; /* > 0: so many positions of a prompt are those of the last one's */
    unsigned fails;   /* one row in so many turns out to be bad; 0: none */
    int32_t num_priorities, num_tenants; /* drawn for each request */
    int64_t num_steps;
    bool submits_suspects;
    unsigned penalizes; /* one request in so many has a repetition penalty; 0: none */
    unsigned seed;
    struct sim_request requests[SIM_MAX_REQUESTS]; /* last: most of it is never touched */
};

extern struct sim sim;
extern int32_t sim_eos_ids[1];

unsigned sim_draw(unsigned below);

struct scheduler_limits sim_limits(int32_t num_seqs, int32_t budget, int32_t num_blocks);

/* KV groups with these windows, [num]; group g has g + 1 parts. */
struct kv_groups sim_groups(const int32_t *windows, int32_t num);
void sim_begin(struct scheduler_limits limits, unsigned seed);

enum record_failure sim_submit(int32_t num_prompt, int32_t num_choices, int32_t max_tokens,
                               int32_t num_logprobs, int32_t num_prompt_logprobs);
void sim_submit_random(void);
void sim_cancel_one(void);

/* What must hold after every plan. */
void sim_check_plan(const struct plan *plan);

/* From the plan to its results, nothing else in the air. */
void sim_execute(const struct plan *plan);

/* Plan a step, with the one before in the air if sim.is_ahead; take what is there to be taken. */
void sim_step(unsigned patience);

/* Each request's frontend takes what there is in one step of `patience`. */
void sim_publish_some(unsigned patience);

/* Until all have ended: then nothing is left behind. */
void sim_drain(unsigned patience);
void sim_check_empty(void);

#endif
