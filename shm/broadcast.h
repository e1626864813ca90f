/*
 * broadcast.h - the leader's plans reach the followers
 *
 * Plans are bytes, numbered 1, 2, 3 ..., and lie in two places of the leader's segment in turn. A
 * follower copies a plan out, checks the copy, does what it says and acknowledges it by its own
 * count of finished plans. The leader writes plan p where plan p - 2 lay, hence after all
 * followers have finished that one: a plan is never overwritten under a reader, and the
 * leader may be one plan ahead.
 *
 * Rank 0 of a struct comm leads; errors are those of comm.h and are final as there.
 */
#ifndef SHM_BROADCAST_H
#define SHM_BROADCAST_H

#include "shm/comm.h"

/* Leader: returns 0; -EMSGSIZE for more bytes than a plan holds; or an error of comm.h. */
int broadcast_publish(struct comm *comm, const void *bytes, uint32_t len);

/*
 * Follower: copy the next plan into `to` (geometry.plan_bytes). Returns 1 and its length; 0 when
 * none came within `max_us` (ordinary: the leader is idle); -EPROTO for a length that cannot be;
 * or an error of comm.h.
 */
int broadcast_take(struct comm *comm, void *to, uint32_t *ret_len, int64_t max_us);

/* Follower: the plan taken last is finished. */
void broadcast_done(struct comm *comm);

#endif
