/*
 * seat.h - a frontend's seat at an engine of this process, for tests: real rings, real records
 */
#ifndef TESTS_UNIT_WORKER_SEAT_H
#define TESTS_UNIT_WORKER_SEAT_H

#include "worker/engine.h"

enum { SEAT_MAX_IDS = 128, SEAT_MAX_CHOICES = 8, SEAT_MAX_TOKENS = 256 };

struct seat_choice {
    int32_t num_tokens, num_logprobs; /* positions */
    int32_t num_before;               /* tokens it brought along */
    int32_t tokens[SEAT_MAX_TOKENS];
    struct record_logprob logprobs[SEAT_MAX_TOKENS][1 + 5];
    bool is_done;
    struct record_done done; /* without cached_tokens, which are the answer's */
};

/* What came back for one id; everything is checked against the order of record.h. */
struct seat_answer {
    bool is_accepted, is_started;
    uint32_t num_waiting, cached_tokens;
    enum record_failure failure;
    int32_t num_choices, num_done;
    int32_t num_logprobs, num_prompt_logprobs; /* as in the params, at most 5 */
    int32_t next_score;                        /* prompt position that comes next, from 1 */
    struct record_logprob scores[SEAT_MAX_TOKENS][1 + 5];
    struct seat_choice choices[SEAT_MAX_CHOICES];
};

struct seat {
    struct ring_end end;
    struct control_message link_message; /* what the engine is told */
    int link_fds[LINK_NUM_FDS];
    int doorbell;
    struct seat_answer *answers; /* [SEAT_MAX_IDS] by id */
};

/* Make a pair of segments with `complete_cells` cells towards the seat, and join the engine. */
void seat_open(struct seat *seat, struct engine *engine, uint32_t frontend,
               uint32_t complete_cells);
void seat_close(struct seat *seat);

/* Put a submit on the ring and show it. `id` < SEAT_MAX_IDS. */
void seat_submit(struct seat *seat, uint64_t id, const struct record_submit *submit);
void seat_cancel(struct seat *seat, uint64_t id);
void seat_cancel_choice(struct seat *seat, uint64_t id, uint8_t choice);

/* Take everything that is there. Returns the number of cells. */
int32_t seat_take(struct seat *seat);

bool seat_is_finished(const struct seat *seat, uint64_t id);

#endif
