/*
 * crew.h - the ranks of one engine as threads of this process, or as children, for tests
 *
 * Each rank maps the segments of all as a process of its own would: its own writable, the others
 * read-only. Followers have a device, a model and a KV pool of their own.
 */
#ifndef TESTS_UNIT_WORKER_CREW_H
#define TESTS_UNIT_WORKER_CREW_H

#include <pthread.h>

#include "worker/communicator.h"
#include "worker/follower.h"

enum { CREW_MAX_RANKS = 6, CREW_TIMEOUT_US = 50 * 1000 * 1000 };

struct crew_options {
    const struct backend *backend;
    const struct device_options *device; /* without its rank */
    const struct model_options *model;   /* without its communicator */
    const struct scheduler_limits *limits;
    bool as_processes; /* they are there to be killed, and crew_leave() does */
};

struct crew_rank {
    struct comm comm;
    struct communicator communicator;
    pthread_t thread;
    bool is_running;
    pid_t pid; /* of a process; 0: there is none */
    struct crew *crew;
    struct status_page *page;
    int result; /* how the thread ended: 0 when it was told to */
    struct error err;
};

struct crew {
    int32_t num_ranks;
    struct crew_options options;
    struct crew_rank ranks[CREW_MAX_RANKS];
    _Atomic bool is_over;
};

/* Make the segments, and join all ranks. */
void crew_join(struct crew *crew, int32_t num_ranks, uint32_t num_floats);

/* Start the followers; what the options point to must outlive them. */
void crew_start(struct crew *crew, const struct crew_options *options);

/* Wait until a follower has ended by itself. */
void crew_await(struct crew *crew, int32_t rank);

/* End the followers. Threads that still ran did so without an error. Accepts one of no ranks. */
void crew_leave(struct crew *crew);

#endif
