#include "worker/ranks.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
    SEGMENTS_MS = 10 * 1000,
    LOAD_US = 1800 * 1000 * 1000,
    STEP_US = 60 * 1000 * 1000,
};

static void close_fds(const struct inbox_message *message)
{
    for (size_t i = 0; i < message->num_fds; i++)
        close(message->fds[i]);
}

/* Frontends join later; nothing else of use comes before. */
static int await_segments(struct inbox *inbox, struct inbox_message *message)
{
    for (int waited_ms = 0; waited_ms < SEGMENTS_MS; waited_ms++) {
        while (inbox_take(inbox, message)) {
            if (message->control.kind == CONTROL_RANKS)
                return 0;
            close_fds(message);
        }
        poll(NULL, 0, 1);
    }
    return -ETIMEDOUT;
}

static int map(struct ranks *ranks, const struct inbox_message *message, struct error *err)
{
    const struct comm_geometry g = comm_geometry_of(ranks->num_ranks);
    struct segment segments[COMM_MAX_RANKS] = { 0 };
    int r = 0;
    if (message->num_fds != (size_t)g.num_ranks)
        return error_set(err, -EPROTO, "%zu segments for %d ranks", message->num_fds, g.num_ranks);
    for (int32_t i = 0; r == 0 && i < g.num_ranks; i++) {
        const struct segment_header header = comm_segment_header(g, i, message->control.epoch);
        r = segment_map(&segments[i], message->fds[i], i == ranks->rank, &header, err);
    }
    if (r == 0)
        comm_init(&ranks->comm, g, ranks->rank, LOAD_US, segments);
    for (int32_t i = 0; r < 0 && i < g.num_ranks; i++)
        segment_unmap(&segments[i]);
    return r;
}

int ranks_open(struct ranks *ranks, int32_t rank, int32_t num_ranks, struct inbox *inbox,
               struct error *err)
{
    struct inbox_message message;
    *ranks = (struct ranks){ .rank = rank, .num_ranks = num_ranks };
    if (num_ranks == 1)
        return 0;
    if (rank < 0 || num_ranks > COMM_MAX_RANKS || rank >= num_ranks)
        return error_set(err, -EPROTO, "rank %d of %d", rank, num_ranks);
    int r = await_segments(inbox, &message);
    if (r < 0)
        return error_set(err, r, "the supervisor gave no memory for %d ranks", num_ranks);
    r = map(ranks, &message, err);
    close_fds(&message);
    ranks->communicator = communicator_of(&ranks->comm);
    return r;
}

void ranks_close(struct ranks *ranks)
{
    comm_finish(&ranks->comm);
}

int ranks_agree(struct ranks *ranks, int32_t *number, struct error *err)
{
    float own = (float)*number, all[COMM_MAX_RANKS];
    if (ranks->num_ranks == 1)
        return 0;
    const int r = comm_all_gather(&ranks->comm, all, &own, 1, (uint32_t)ranks->num_ranks);
    if (r < 0)
        return error_set(err, r, "another rank did not load: %s", strerror(-r));
    for (int32_t i = 0; i < ranks->num_ranks; i++)
        own = all[i] < own ? all[i] : own;
    *number = own > 0 ? (int32_t)own : 0;
    return 0;
}

void ranks_end_loading(struct ranks *ranks)
{
    ranks->comm.timeout_us = STEP_US;
}
