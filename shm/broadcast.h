/*
 * broadcast.h - the leader's plans reach the followers, and their answers the leader
 *
 * Plans are bytes, numbered 1, 2, 3 ..., and lie in two places of the leader's segment in turn. A
 * follower copies a plan out, checks the copy, does what it says, writes an answer into one of two
 * places of its own segment and raises its count of finished plans. The leader writes plan p where
 * plan p - 2 lay, hence after all followers have finished that one: a plan is never overwritten
 * under a reader, and the leader may be one plan ahead. So may a follower: it may take plan p
 * before it has finished plan p - 1. Its answer to plan p lies where that to p - 2 did, which the
 * leader has read before it published plan p.
 *
 * Rank 0 of a struct comm leads; errors are those of comm.h and are final as there.
 */
#ifndef SHM_BROADCAST_H
#define SHM_BROADCAST_H

#include "shm/comm.h"

/* Leader: returns 0; -EMSGSIZE for more bytes than a plan holds; or an error of comm.h. Ends the
 * plan before the last if nobody did. */
int broadcast_publish(struct comm *comm, const void *bytes, uint32_t len);

/* Leader: wait until all followers have finished the oldest plan that was not waited for. Returns 0
 * or an error of comm.h. */
int broadcast_end(struct comm *comm);

/* Leader: what a follower answered to the plan ended last; it stays there until the next but one is
 * published. NULL where the length cannot be. */
const void *broadcast_answer(const struct comm *comm, int32_t rank, uint32_t *ret_len);

/*
 * Follower: copy the next plan into `to` (geometry.plan_bytes). Returns 1 and its length; 0 when
 * none came within `max_us` (ordinary: the leader is idle); -EPROTO for a length that cannot be;
 * or an error of comm.h.
 */
int broadcast_take(struct comm *comm, void *to, uint32_t *ret_len, int64_t max_us);

/* Follower: the oldest plan taken and not finished is. At most comm_answer_bytes(). */
void broadcast_done(struct comm *comm, const void *answer, uint32_t len);

#endif
