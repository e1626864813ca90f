/*
 * wait_queue.h - requests that wait for a seat, in the order of the scheduling policy
 *
 *     FCFS       first come, first served
 *     PRIORITY   lower priority first, then arrival; may take the place of what runs
 *     FAIR       the tenant that was served least first, then arrival
 *
 * What a tenant was served is counted in tokens, one of the output as four of the prompt. A
 * tenant that was away is counted up to the one served least meanwhile, but for what it would have
 * got in CREDIT seconds: who rests saves a little, not a flood. With one tenant FAIR is FCFS.
 *
 * There is no clock here: wait_queue_tell_time() says what time it is. Tenants are told apart
 * up to WAIT_MAX_TENANTS; beyond, several share an account.
 *
 * Threads: engine thread only. Nothing here allocates.
 * Source:  virtual token counter, arXiv:2401.00588, section 4.
 */
#ifndef WORKER_WAIT_QUEUE_H
#define WORKER_WAIT_QUEUE_H

#include "worker/request.h"

enum {
    WAIT_MAX_TENANTS = 256,
    WAIT_CREDIT_SECONDS = 10,
    WAIT_OUTPUT_WEIGHT = 4,
};

enum wait_policy { WAIT_FCFS, WAIT_PRIORITY, WAIT_FAIR };

struct wait_tenant {
    struct request_list requests; /* in order */
    struct request *next;         /* of the pass that is running */
    int32_t num_waiting, num_running;
    double served;
};

struct wait_queue {
    enum wait_policy policy;
    struct wait_tenant tenants[WAIT_MAX_TENANTS];
    int32_t num_tenants; /* accounts from here on were never used */
    double floor;        /* served to the last one that left */
    /* How fast tokens are served, all tenants together. */
    int64_t since_us, now_us;
    double served_since, per_second;
};

void wait_queue_init(struct wait_queue *queue, enum wait_policy policy);

/* Never back; about once a step. */
void wait_queue_tell_time(struct wait_queue *queue, int64_t now_us);

/* Sets the request's rank: requests of a lower one go first. */
void wait_queue_add(struct wait_queue *queue, struct request *request);
void wait_queue_remove(struct wait_queue *queue, struct request *request);

/* Begin a pass over the requests, and take the next of it; NULL at the end. The one that was
 * returned may be removed meanwhile. */
void wait_queue_rewind(struct wait_queue *queue);
struct request *wait_queue_next(struct wait_queue *queue);

/* A sequence of the request begins (1) or ceases (-1) to hold a place. */
void wait_queue_note_running(struct wait_queue *queue, const struct request *request,
                             int32_t change);

/* The request was served so many tokens of its prompt. */
void wait_queue_charge(struct wait_queue *queue, const struct request *request, int32_t num_tokens);

/* What its tenant was served; 0 when the policy does not ask. */
double wait_queue_served(const struct wait_queue *queue, const struct request *request);

#endif
