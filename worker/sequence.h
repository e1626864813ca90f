/*
 * sequence.h - one choice in its seat: tokens, block tables, and what was published of it
 *
 *     tokens     [0 ........ num_prompt ........... num_tokens)    and num_drawn not known yet
 *     in the KV  [0 ... num_computed)                              at most one less than both
 *     published             (... num_published)                    output tokens, from 0
 *
 * Seats are fixed slots with memory for the longest sequence; one that is left while a device
 * may still read it is given to nobody before that is over. A sequence is RUNNING while it
 * holds blocks, PREEMPTED while it waits to get them again (its tokens stay), FINISHED when it
 * holds no blocks any more but is not published in full.
 *
 * Log-probabilities collect in fixed buffers until the ring takes them, and a sequence whose
 * buffer is full pauses. Those of the prompt ("scores") are sent in windows that begin at
 * multiples of SEQUENCE_WINDOW, whatever the chunks were, so that a second engine sends the
 * same cells.
 *
 * Threads: engine thread only. Nothing here allocates after init.
 */
#ifndef WORKER_SEQUENCE_H
#define WORKER_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/prefix_cache.h"
#include "worker/request.h"

enum {
    SEQUENCE_WINDOW = 64, /* positions of a log-probability buffer */
    SEQUENCE_LOGPROB_STRIDE = 1 + RECORD_MAX_LOGPROBS,
};

enum sequence_state { SEQUENCE_FREE, SEQUENCE_RUNNING, SEQUENCE_PREEMPTED, SEQUENCE_FINISHED };

struct sequence {
    enum sequence_state state;
    struct request *request;
    struct sequence *next_sibling;
    int32_t rank; /* the request's */
    uint64_t age; /* orders the sequences of a rank: request, then choice */
    int32_t choice;
    int32_t *tokens; /* [max_model_len] */
    int32_t num_prompt, num_tokens, num_computed;
    /* Of steps whose results are not taken: its rows, and the tokens they draw. */
    int32_t num_rows, num_drawn;
    int32_t drawn_at;                         /* the newest of them: its sample in that step */
    struct block_table tables[KV_MAX_GROUPS]; /* by KV group */
    int32_t num_covered;     /* positions whose blocks are, or were, there in every group */
    struct prefix_path path; /* of its leading pages */
    /* The plan it is part of, if that is the newest one. */
    uint64_t planned_step;
    int32_t num_computed_before;
    /* Output: positions count from 0 here, from 1 on the ring. */
    int32_t num_published, num_logprobs_published;
    struct record_logprob *logprobs; /* [SEQUENCE_WINDOW][stride]: position p at p % window */
    /* Scores of prompt positions [first_score, first_score + num_scores). */
    struct record_logprob *scores; /* [SEQUENCE_WINDOW][stride] */
    int32_t first_score, num_scores;
    bool is_scorer;            /* the one sequence that scores its request's prompt */
    enum record_finish finish; /* 0: goes on */
    int32_t stop_id;
};

struct sequence_pool {
    struct sequence *seats;
    struct sequence **free; /* a stack */
    int32_t num_seats, num_free, max_len;
};

/* Returns 0 or -ENOMEM. */
int sequence_pool_init(struct sequence_pool *pool, int32_t num_seats, int32_t max_len,
                       const struct kv_groups *kv, struct reserve *reserve);

/* Seat the request's next choice; NULL without a free seat (ordinary). It holds no blocks and
 * counts as PREEMPTED. */
struct sequence *sequence_pool_seat(struct sequence_pool *pool, const struct request_set *table,
                                    struct request *request);

/* Give the seat back; the sequence must hold no blocks. It is free when its last row is over. */
void sequence_pool_leave(struct sequence_pool *pool, struct sequence *sequence);
void sequence_pool_end_row(struct sequence_pool *pool, struct sequence *sequence, bool drew);

int32_t sequence_num_output(const struct sequence *sequence);

/* Its tokens, those included that are not known yet. */
int32_t sequence_length(const struct sequence *sequence);

/* Is a buffer of log-probabilities full, so that nothing may be computed now? */
bool sequence_is_paused(const struct sequence *sequence);

/* Does its next row need results that are not there yet, or will there be none? */
bool sequence_lags(const struct sequence *sequence);

/* Is its window of scores complete, so that it is to be published? */
bool sequence_has_whole_scores(const struct sequence *sequence);

/* Nobody wants it any more: it ends, and what is not published is dropped. */
void sequence_cancel(struct sequence *sequence);

/* Append the token sampled behind num_tokens. Sets `finish` when it was the last. */
void sequence_append(struct sequence *sequence, int32_t token_id);

#endif
