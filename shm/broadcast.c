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
    int r = comm->error;
    if (r == 0 && len > comm->geometry.plan_bytes)
        return -EMSGSIZE;
    while (r == 0 && number - comm->plans_ended > 2)
        r = broadcast_end(comm);
    if (r < 0)
        return r;
    memcpy(comm_plan_of(comm, slot), bytes, len);
    comm_page_of(comm, 0)->plan_len[slot] = len;
    comm_raise(comm, COMM_PLANNED);
    return 0;
}

int broadcast_end(struct comm *comm)
{
    assert(comm->rank == 0 && comm->plans_ended != comm->counts[COMM_PLANNED]);
    const int r = comm->error != 0 ? comm->error : wait_done(comm, comm->plans_ended + 1);
    comm->plans_ended += r == 0;
    return r;
}

const void *broadcast_answer(const struct comm *comm, int32_t rank, uint32_t *ret_len)
{
    const uint32_t slot = comm->plans_ended % 2;
    *ret_len = comm_page_of(comm, rank)->plan_len[slot];
    return *ret_len <= comm_answer_bytes(comm->geometry) ? comm_answer_of(comm, rank, slot) : NULL;
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

void broadcast_done(struct comm *comm, const void *answer, uint32_t len)
{
    const uint32_t slot = (comm->counts[COMM_DONE] + 1) % 2;
    assert(comm->rank != 0 && comm->counts[COMM_DONE] != comm->plans_taken);
    assert(len <= comm_answer_bytes(comm->geometry));
    if (len > 0)
        memcpy(comm_answer_of(comm, comm->rank, slot), answer, len);
    comm_page_of(comm, comm->rank)->plan_len[slot] = len;
    comm_raise(comm, COMM_DONE);
}
