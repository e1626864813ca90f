/*
 * follower.h - a rank that computes what the leader plans
 *
 * It has a shard of the model and of the KV cache, no scheduler, no requests and no frontends: a
 * step is a plan taken from shared memory (step_plan.h), executed, and compared with what the
 * leader drew. A difference is an error: the engine must not go on with ranks that drifted apart.
 */
#ifndef WORKER_FOLLOWER_H
#define WORKER_FOLLOWER_H

#include "shm/broadcast.h"
#include "shm/status.h"
#include "worker/step_plan.h"

struct follower;

struct follower_options {
    const struct backend *backend;
    struct device *device;
    struct model *model; /* opened with a communicator over `comm` */
    struct scheduler_limits limits;
    struct comm *comm;
    struct status_page *page; /* own: heartbeat, step times */
};

/* Takes all memory. Returns 0 or -ENOMEM. The options' objects outlive the follower. */
int follower_create(const struct follower_options *options, struct follower **ret_follower,
                    struct error *err);
void follower_destroy(struct follower *follower); /* accepts NULL */

/*
 * Wait at most `max_us` for a plan and execute it. Returns 1; 0 when none came (ordinary);
 * -EPIPE, -ETIMEDOUT of the other ranks; -EPROTO for a plan that cannot be; -EBADMSG when this
 * rank found another token than the leader: a sentence each.
 */
int follower_step(struct follower *follower, int64_t max_us, struct error *err);

#endif
