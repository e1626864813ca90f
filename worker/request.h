/*
 * request.h - one SUBMIT as the engine keeps it, and the table of all of them
 *
 * A request is what its choices share: parameters, end-of-text ids, biases, and the tokens of
 * choices that have no seat yet. A choice becomes a struct sequence when it gets a seat. A
 * request is
 *
 *     waiting        some choices have no seat yet (in the scheduler's queue)
 *     seated         every choice has or had a seat
 *     failed         FAILED is to be published; nothing of it runs any more
 *
 * and is removed when its last DONE or its FAILED has been published, or at CANCEL.
 *
 * Threads: engine thread only. Nothing here allocates after init.
 */
#ifndef WORKER_REQUEST_H
#define WORKER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "kernels/backend.h"
#include "proto/records/record.h"
#include "worker/reserve.h"
#include "worker/token_store.h"

struct sequence;

struct request_choice {
    int32_t index;   /* within its prompt: a key of its random numbers */
    int32_t num_ids; /* output tokens it already has */
};

struct request {
    uint64_t id; /* unique within its frontend */
    int32_t frontend;
    uint64_t age; /* number in order of arrival */
    struct record_params params;
    uint64_t seed;
    int64_t deadline_us; /* 0: none */
    int32_t num_prompt;
    struct token_list tokens; /* prompt, then the ids of each choice; empty once all have seats */
    int32_t num_choices, num_seated, num_done;
    int32_t rank;       /* lower ones go first, then lower ages */
    uint64_t root;      /* of the prefix cache: who may share blocks with whom */
    int32_t num_cached; /* prompt tokens found there */
    int32_t awaited;    /* a page that another is filling, -1: none */
    uint64_t awaited_number;
    struct request_choice choices[RECORD_MAX_CHOICES];
    struct sequence *sequences; /* those that hold a seat, by next_sibling */
    struct logit_bias *biases;  /* [num_biases] */
    int32_t num_biases;
    int32_t *end_ids; /* [num_end_ids]: masked before min_tokens; the first num_ends end */
    int32_t num_end_ids, num_ends;
    uint32_t *banned;   /* bit set of what may never be drawn, NULL when all may */
    int32_t *bad_words; /* [bad_words_len]: of several tokens, as RECORD_ITEM_BAD_WORDS */
    int32_t bad_words_len;
    int32_t next_score; /* first prompt position without computed log-probability */
    bool is_resumed;    /* some choice brought output: accepted by an earlier engine */
    bool is_suspect;    /* it gets steps of its own */
    int32_t num_rows;   /* of its sequences, in steps whose results are not taken */
    bool is_removed;    /* the slot is free when those are over */
    uint64_t told_step; /* the newest step that names it on the status page */
    bool is_waiting, is_started, is_unpublished;
    bool owes_started;
    enum record_failure failure; /* 0: none */

    TAILQ_ENTRY(request) in_waiting, in_active, in_unpublished;
    struct request *next_in_bucket;
};

TAILQ_HEAD(request_list, request);

struct request_set {
    struct request *slots; /* [max_requests] */
    struct request **free; /* a stack */
    struct request **buckets;
    struct request_list active; /* oldest first */
    int32_t max_requests, num_free, num_buckets, vocab_size;
    int32_t num_suspects;
    uint64_t num_added;
    struct logit_bias *biases; /* [max_requests][RECORD_MAX_BIASES] */
    int32_t *end_ids;          /* [max_requests][2 * RECORD_MAX_STOP_IDS] */
    uint32_t *banned;          /* [max_requests][banned_words] */
    int32_t *bad_words;        /* [max_requests][RECORD_MAX_BAD_WORDS_LEN] */
    size_t banned_words;
    struct token_store store;
};

/* Room for `max_requests` requests with `num_tokens` waiting tokens. Returns 0 or -ENOMEM. */
int request_set_init(struct request_set *table, int32_t max_requests, int64_t num_tokens,
                     int32_t vocab_size, struct reserve *reserve);

struct request *request_set_find(const struct request_set *table, int32_t frontend, uint64_t id);

/*
 * Copy a checked submit. The id must not be in use by this frontend.
 *
 * Returns 0, or -ENOSPC when there is no slot or no room for its tokens (ordinary).
 */
int request_set_add(struct request_set *table, int32_t frontend, uint64_t id,
                    const struct record_submit *submit, struct request **ret_request);

/* Forget it. It must be in no list but `active`, and hold no seat. The slot is free when the last
 * row of it is over. */
void request_set_remove(struct request_set *table, struct request *request);
void request_set_end_row(struct request_set *table, struct request *request);

/* The n-th choice's tokens: prompt and what it already has. Returns their number. */
int32_t request_read_tokens(const struct request_set *table, const struct request *request,
                            int32_t nth, int32_t *ret_ids);

bool request_wants_scores(const struct request *request);

/* Does this token end a choice? */
bool request_is_end(const struct request *request, int32_t token_id);

/*
 * What may not be drawn behind `num_output` tokens, the newest of which is before `end`: a bit
 * set, or NULL when all may. `scratch` has as many words as the request's own set and is used
 * where the output matters. A word of several tokens is let through where nothing else is left.
 */
const uint32_t *request_banned(const struct request *request, int32_t vocab_size,
                               const int32_t *end, uint32_t num_output, uint32_t *scratch);

#endif
