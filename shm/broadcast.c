#include "shm/broadcast.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static int give_up(struct comm *comm, int error)
{
    comm_leave(comm, error);
    return comm->error;
}

static int wait_done(struct comm *comm, uint32_t count)
{
    for (int32_t r = 1; r < comm->geometry.num_ranks; r++) {
        const int problem = comm_wait(comm, r, COMM_DONE, count, comm->timeout_us);
        if (problem < 0)
            return give_up(comm, problem);
    }
    return 0;
}

int broadcast_publish(struct comm *comm, const void *bytes, uint32_t len)
{
    assert(comm->rank == 0);
    const uint32_t number = comm->counts[COMM_PLANNED] + 1, slot = number % 2;
    if (comm->error != 0)
        return comm->error;
    if (len > comm->geometry.plan_bytes)
        return -EMSGSIZE;
    const int r = number > 2 ? wait_done(comm, number - 2) : 0;
    if (r < 0)
        return r;
    memcpy(comm_plan_of(comm, slot), bytes, len);
    comm_page_of(comm, 0)->plan_len[slot] = len;
    comm_raise(comm, COMM_PLANNED);
    return 0;
}

int broadcast_take(struct comm *comm, void *to, uint32_t *ret_len, int64_t max_us)
{
    assert(comm->rank != 0);
    const uint32_t number = comm->plans_taken + 1, slot = number % 2;
    if (comm->error != 0)
        return comm->error;
    const int r = comm_wait(comm, 0, COMM_PLANNED, number, max_us);
    if (r == -ETIMEDOUT)
        return 0;
    if (r < 0)
        return give_up(comm, r);
    const uint32_t len = comm_page_of(comm, 0)->plan_len[slot];
    if (len > comm->geometry.plan_bytes)
        return give_up(comm, -EPROTO);
    memcpy(to, comm_plan_of(comm, slot), len);
    comm->plans_taken = number;
    *ret_len = len;
    return 1;
}

void broadcast_done(struct comm *comm)
{
    comm_raise(comm, COMM_DONE);
}
