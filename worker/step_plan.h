/*
 * step_plan.h - a step as words that the leader sends to the followers
 *
 * A plan says which positions of which sequences are computed, in which KV blocks, whose logits
 * are wanted and how their tokens are drawn. A follower draws too where nothing but logits and
 * seed decide. Penalties, biases and masks would need the whole state of the request: of their
 * rows, and of scored ones, a follower finds the best of the logits, which is compared. A plan that
 * is sent while the step before runs names that one's tokens by their places (`moves`); in it, what
 * followers cannot draw was shared.
 *
 * The words are checked as they are read: against the limits, which all ranks share, and the
 * model's sizes. Nothing here allocates but step_plan_init().
 */
#ifndef WORKER_STEP_PLAN_H
#define WORKER_STEP_PLAN_H

#include "worker/batch.h"

/* Words of the longest plan. */
uint64_t step_plan_max_words(const struct scheduler_limits *limits);

/* What the leader wants to say beside the batch. */
struct step_plan_news {
    uint64_t expected_us; /* time that the step should take */
    bool is_kept;         /* the device is to keep the list: that of each rank, in this step */
    bool is_behind;       /* the step before runs: its tokens are named, not told */
    bool is_shared;       /* ids are those of the leader */
};

/* Write the batch built of `plan` into `words` (step_plan_max_words()); returns their number. */
uint32_t step_plan_write(int32_t *words, const struct batch *batch, const struct plan *plan,
                         const struct step_plan_news *news);

/* A plan at a follower, ready to be enqueued. Pointers go into the words and own arrays. */
struct step_plan {
    struct model_batch model;
    struct plan_copies copies;
    int32_t *token_ids;          /* the model's */
    const struct id_move *moves; /* [num_moves]: rows whose token the plan before draws */
    int32_t num_moves;
    struct step_plan_news news;
    struct sample_row *samples; /* [num_logits] */
    int32_t *ids, *own_ids;     /* results */
    /* own arrays */
    bool *bad;
    int32_t *positions;
    int64_t *slots[KV_MAX_PARTS];
    struct attention_seq *seqs[KV_MAX_PARTS];
};

/* Returns 0 or -ENOMEM. */
int step_plan_init(struct step_plan *plan, const struct scheduler_limits *limits,
                   struct reserve *reserve);

/* Returns 0; -EPROTO with what cannot be. `before` was read before this one; `words` must outlive
 * the step. */
int step_plan_read(struct step_plan *plan, const struct step_plan *before,
                   const struct scheduler_limits *limits, int32_t *words, uint32_t num_words,
                   struct error *err);

#endif
