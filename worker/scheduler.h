/*
 * scheduler.h - policy: which positions of which sequences are computed in the next step
 *
 * Plain structs in, a plan out: no device, no ring, no clock. A plan keeps five rules:
 *
 *   1. at most max_num_batched_tokens positions, of at most max_num_seqs sequences, and draws whose
 *      penalties count at most max_penalized tokens;
 *   2. decodes first, in turn when they do not all fit; then prefill chunks, oldest first;
 *   3. a sequence gets blocks for all its known tokens when it starts, and a page more as it
 *      grows; behind a window those for two chunks, and as many more as it gives back. When none
 *      is left, the youngest sequence is preempted: its blocks go, its tokens stay, it starts
 *      again before anything that waits;
 *   4. what waits starts in the order of the policy (wait_queue.h), and nobody before an earlier
 *      one that lacks blocks. The first in order is never preempted for another, so every
 *      request ends; by priority, it does as long as no earlier ones keep coming, and what starts
 *      may take the place of what comes behind it;
 *   5. a suspect (RECORD_SUSPECT) shares no step: steps alternate between everybody else and the
 *      suspects, one of them at a time.
 *
 * Full blocks whose tokens are final stay in the prefix cache, and whoever starts takes what it
 * finds of its tokens there, preempted sequences too. A prompt whose next block is being computed
 * by another waits for it, and others pass.
 *
 * The choices of a request (n > 1) start one after another. The first computes the prompt; the
 * others take over its blocks up to the position before the prompt's last (whole blocks by
 * reference, the last one copied) and compute that position themselves, as any decode.
 *
 * The next step may be planned while one runs: num_computed counts what was planned, and
 * num_drawn the tokens that nobody knows yet. A plan counts on them: a sequence goes on behind a
 * token that the device alone knows, unless that token decides more than itself (sequence_lags()).
 * One that then turns out to have ended has a row too many, whose results are nobody's. Blocks
 * change owners at once, since steps run in the order of their plans; seats and requests when the
 * last step that reads them is over (scheduler_end_row()).
 *
 * Threads: engine thread only. Nothing here allocates after init.
 */
#ifndef WORKER_SCHEDULER_H
#define WORKER_SCHEDULER_H

#include "worker/plan.h"
#include "worker/prefix_cache.h"
#include "worker/sequence.h"

struct scheduler {
    struct scheduler_limits limits;
    struct request_set requests;
    struct sequence_pool seats;
    struct block_pool blocks;
    int32_t max_chunk; /* for which a sequence of full length finds room behind its windows */
    struct wait_queue waiting;
    int32_t num_waiting;
    int64_t num_queued_tokens;   /* of those that wait */
    struct sequence **running;   /* [max_num_seqs] in order of rank and age */
    struct sequence **preempted; /* [seats] in that order, too */
    int32_t num_running, num_preempted;
    int32_t decode_turn;         /* index in `running` where the next plan begins with decodes */
    const struct request *alone; /* the suspect whose step it is; NULL: everybody else's */
    uint64_t last_suspect_age;
    struct plan plans[2]; /* in turn */
    struct plan *plan;    /* the newer */
    uint64_t num_plans;
    struct prefix_cache prefixes;
    int32_t *prompt; /* [max_model_len] of a request that is looked at */
};

/* Returns 0 or -ENOMEM. */
int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits,
                   struct reserve *reserve);

/*
 * Take a checked submit into the queue.
 *
 * Returns 0 and the request, or the failure to answer with: QUEUE_FULL, QUEUED_TOKENS, TOO_LONG.
 * Free seats count as room in the queue, and so a resumed request finds the place that it had
 * at an earlier engine.
 */
enum record_failure scheduler_admit(struct scheduler *s, int32_t frontend, uint64_t id,
                                    const struct record_submit *submit,
                                    struct request **ret_request);

/* What time it is, for policies that count by it. */
void scheduler_tell_time(struct scheduler *s, int64_t now_us);

/* Decide the next step. Valid until the call after the next; num_rows is 0 when nothing can be
 * computed, or not before the results of the step that runs are taken. */
const struct plan *scheduler_plan(struct scheduler *s);

/* The row's step has run, and nothing reads it any more; once for each row of a plan, whatever
 * became of its sequence. Returns false when its results are nobody's: the sequence has ended. */
bool scheduler_end_row(struct scheduler *s, const struct plan_row *row);

/* The sequence's keys and values are there up to `end`, and the tokens up to there known: what is
 * behind its windows now is given back. Comes
 * before scheduler_finish(); not at all for a row whose logits are no numbers. */
void scheduler_filled(struct scheduler *s, struct sequence *sequence, int32_t end);

/* The sequence needs its blocks no more. */
void scheduler_finish(struct scheduler *s, struct sequence *sequence);

/* Stop everything of the request: its blocks and seats are free, it is no longer in the queue. */
void scheduler_stop(struct scheduler *s, struct request *request);

/* For start.c: every choice of the request has, or had, a seat. */
void scheduler_leave_queue(struct scheduler *s, struct request *request);

/* Is there anything to compute, now or later? */
bool scheduler_has_work(const struct scheduler *s);

#endif
