/*
 * ranks.h - how a worker of several joins the others of its engine
 */
#ifndef WORKER_RANKS_H
#define WORKER_RANKS_H

#include "worker/communicator.h"
#include "worker/inbox.h"

struct ranks {
    int32_t rank, num_ranks; /* num_ranks 1: alone, and nothing else is set */
    struct comm comm;
    struct communicator communicator;
};

/* Wait for the supervisor's segments and map them. Returns 0; -ETIMEDOUT, -EPROTO, -ENOMEM. */
int ranks_open(struct ranks *ranks, int32_t rank, int32_t num_ranks, struct inbox *inbox,
               struct error *err);
void ranks_close(struct ranks *ranks); /* accepts a zeroed one, and one alone */

/*
 * The least of all ranks' numbers, below 2^24. Returns 0 or an error of comm.h with a sentence.
 * Ranks load at different speeds, so that this may wait for minutes.
 */
int ranks_agree(struct ranks *ranks, int32_t *number, struct error *err);

/* All have loaded: from here on a rank is waited for no longer than a step may last. */
void ranks_end_loading(struct ranks *ranks);

#endif
