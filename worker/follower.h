/*
 * follower.h - a rank that computes what the leader plans
 *
 * It has a shard of the model and of the KV cache, no scheduler, no requests and no frontends: a
 * step is a plan taken from shared memory (step_plan.h) and executed, and what this rank found in
 * it is told to the leader, which compares. Where the device queues, the next plan may come, and is
 * sent, while a list runs: with the leader's lists in the same order, since plans have one.
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
void follower_destroy(struct follower *follower); /* waits for what runs; accepts NULL */

/*
 * Wait at most `max_us` for a plan and execute it, or go on with what runs. Returns 1; 0 when no
 * plan came and nothing runs (ordinary); -EPIPE, -ETIMEDOUT of the other ranks; -EPROTO for a plan
 * that cannot be; what the device said: a sentence each.
 */
int follower_step(struct follower *follower, int64_t max_us, struct error *err);

#endif
