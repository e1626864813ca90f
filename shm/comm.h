/*
 * comm.h - the ranks of one engine meet: barrier, sum, gather
 *
 * Each rank has one segment, written by it alone and read by all others:
 *
 *     header and words | two areas of floats | two plans (rank 0) or two answers (the others;
 *                                              broadcast.h)
 *
 * Call number c of every rank uses area c % 2. A rank fills its area, says that it has joined
 * call c, waits until all have, and reads the others' areas. It fills the area again in call
 * c + 2, hence after all have joined call c + 1, hence after all have read: two areas need one
 * meeting per call and no second one.
 *
 * Sums run over ranks 0, 1, 2 ... in this order in every rank, so all ranks hold equal bits
 * whatever the timing. All ranks make the same calls with the same sizes in the same order; a
 * rank that does not is noticed (-EPROTO).
 *
 * Waiting spins for COMM_SPIN_US, then sleeps on a futex. It ends at the latest after timeout_us,
 * and about COMM_LOOK_US after the process of a peer ended, without its help. Any error is final:
 * the rank leaves, all later calls return it at once, and the others get -EPIPE.
 *
 * A struct comm is used by one thread at a time; nothing here allocates.
 */
#ifndef SHM_COMM_H
#define SHM_COMM_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"
#include "shm/segment.h"

enum { COMM_MAX_RANKS = 8, COMM_SPIN_US = 50, COMM_LOOK_US = 20 * 1000 };

/* Sizes of an engine's segments. */
struct comm_geometry {
    int32_t num_ranks;   /* 1 to COMM_MAX_RANKS */
    uint32_t num_floats; /* of one area: longer vectors travel in pieces */
    uint32_t plan_bytes; /* of one plan; a multiple of 64 */
};

/* Of one answer to a plan. */
static inline uint32_t comm_answer_bytes(struct comm_geometry g)
{
    return g.plan_bytes / 8;
}

/* What engines use: 1 MiB an area, 4 MiB a plan. */
static inline struct comm_geometry comm_geometry_of(int32_t num_ranks)
{
    return (struct comm_geometry){ num_ranks, 256 << 10, 4 << 20 };
}

/* A count that others wait for: its value times two, and 1 once the rank has left. */
enum comm_word { COMM_JOINED, COMM_PLANNED, COMM_DONE, COMM_NUM_WORDS };

/* What a rank put into an area. */
struct comm_shape {
    uint32_t rows, cols;
};

struct comm_page {
    struct segment_header header;
    struct {
        _Alignas(64) _Atomic uint32_t value;
    } words[COMM_NUM_WORDS];
    _Alignas(64) _Atomic uint32_t sleeping; /* this rank waits in the kernel */
    _Atomic uint32_t pid;
    struct comm_shape shapes[2];
    uint32_t plan_len[2]; /* of a follower: its answers' */
};

struct comm {
    struct comm_geometry geometry;
    int32_t rank;
    int64_t timeout_us;
    uint32_t counts[COMM_NUM_WORDS]; /* of this rank's own words */
    uint32_t plans_taken;            /* by a follower */
    uint32_t plans_ended;            /* by all followers, as the leader has seen */
    int error;                       /* 0, or why this rank has left */
    struct segment segments[COMM_MAX_RANKS];
    int pidfds[COMM_MAX_RANKS]; /* -1: not looked at yet */
};

/* What segment_create() and segment_map() want for the segment of `rank`. */
struct segment_header comm_segment_header(struct comm_geometry g, int32_t rank, uint64_t epoch);

/*
 * Join the engine's ranks. Takes over the mappings, segments[rank] writable, the others
 * read-only; unmapped by comm_finish(). `timeout_us` bounds each wait of a call.
 */
void comm_init(struct comm *comm, struct comm_geometry g, int32_t rank, int64_t timeout_us,
               const struct segment segments[]);
void comm_finish(struct comm *comm); /* leaves; accepts a zeroed one */

/* Leave: whoever waits for this rank gets -EPIPE at once. `error`: what later calls return. */
void comm_leave(struct comm *comm, int error);

/*
 * Return 0; -EPIPE when a rank left or its process ended; -ETIMEDOUT when one did not come;
 * -EPROTO when one made another call.
 */
int comm_barrier(struct comm *comm);

/* x becomes the sum of all ranks' x. */
int comm_all_reduce(struct comm *comm, float *x, uint64_t num);

/* Rank r holds columns comm_share(total_cols, r, n) to comm_share(total_cols, r + 1, n) of each
 * row: `own` is [rows][its columns], `out` becomes [rows][total_cols]. */
int comm_all_gather(struct comm *comm, float *out, const float *own, uint32_t rows,
                    uint32_t total_cols);

/* Where the part of `rank` begins. */
static inline uint32_t comm_share(uint32_t total, int32_t rank, int32_t num_ranks)
{
    return (uint32_t)((uint64_t)total * (uint32_t)rank / (uint32_t)num_ranks);
}

/* --- for broadcast.c --- */

struct comm_page *comm_page_of(const struct comm *comm, int32_t rank);
unsigned char *comm_plan_of(const struct comm *comm, uint32_t slot);
unsigned char *comm_answer_of(const struct comm *comm, int32_t rank, uint32_t slot);

/* Add one to an own word and wake who sleeps. */
void comm_raise(struct comm *comm, enum comm_word which);

/* Wait until the word of `rank` has reached `count`: 0, or an error as above that is not made
 * final. `timeout_us` 0: only look. */
int comm_wait(struct comm *comm, int32_t rank, enum comm_word which, uint32_t count,
              int64_t timeout_us);

#endif
