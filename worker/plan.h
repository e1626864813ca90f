/*
 * plan.h - the parts of one step: rows of sequences, within the limits of tokens and logits
 *
 * Threads: engine thread only. Nothing here allocates after init.
 */
#ifndef WORKER_PLAN_H
#define WORKER_PLAN_H

#include "worker/sequence.h"
#include "worker/wait_queue.h"

struct scheduler_limits {
    int32_t max_num_seqs, max_num_batched_tokens;
    int32_t max_logits;    /* rows with logits in a step */
    int64_t max_penalized; /* tokens that penalties count, of all draws of a step; 0: no limit. A
                              sequence of full length fits alone. */
    int32_t max_model_len;
    int32_t num_blocks; /* of the KV cache */
    struct kv_groups kv;
    int32_t max_num_queued_reqs;
    int64_t max_num_queued_tokens;
    int32_t vocab_size;
    bool enable_prefix_caching;
    enum wait_policy policy;
};

/* One sequence's part of a step: positions [first_pos, first_pos + num_tokens). */
struct plan_row {
    struct sequence *sequence;
    struct request *request;
    int32_t first_pos, num_tokens;
    int32_t first_score, num_scores; /* prompt positions whose log-probability is wanted */
    bool samples;                    /* the last position's logits become a token */
    int32_t num_penalized;           /* tokens that its draw's penalties count */
};

struct plan_copies {
    int32_t *from, *to; /* whole blocks, to be copied before the step computes */
    int32_t num;
};

struct plan {
    uint64_t step;
    struct plan_row *rows; /* [max_num_seqs] */
    int32_t num_rows, num_tokens, num_logits;
    int64_t num_penalized;
    struct plan_copies copies; /* room for a page of each sequence */
    /* Since the last plan that had a row. */
    int32_t num_preempted;
    int64_t num_queried, num_hit; /* prompt tokens looked up in the prefix cache, and found */
};

/* Returns 0 or -ENOMEM. */
int plan_init(struct plan *plan, const struct scheduler_limits *limits, struct reserve *reserve);

/* Begin step number `step` with an empty plan. */
void plan_begin(struct plan *plan, uint64_t step);

/* Begin to count: what was counted for an empty plan before goes on. */
void plan_count_from(struct plan *plan, const struct plan *before);

/* Is there room for one more position and its logits? */
bool plan_has_room(const struct plan *plan, const struct scheduler_limits *limits);

/* How many of the sequence's next positions fit, up to `end`; 0: none. */
int32_t plan_chunk_of(const struct plan *plan, const struct scheduler_limits *limits,
                      const struct sequence *sequence, int32_t end);

/* Plan as many as fit and have blocks. Returns false when none does. */
bool plan_add(struct plan *plan, const struct scheduler_limits *limits, struct sequence *sequence);

/* Take the sequence's row out again, if it has one. */
void plan_remove(struct plan *plan, struct sequence *sequence);

/* Positions whose keys and values earlier steps have put into the sequence's own blocks. */
int32_t plan_computed_before(const struct plan *plan, const struct sequence *sequence);

#endif
