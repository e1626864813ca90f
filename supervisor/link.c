#include "supervisor/link.h"

#include <unistd.h>

#include "shm/ring.h"

enum {
    SUBMIT_CELLS = 1024,
    COMPLETE_CELLS = 16384,
    COMPLETE_BULK = 4 << 20,
    SUBMIT_BULK = 16 << 20,
    SUBMIT_BULK_PER_TOKEN = 32,
};

static struct ring_geometry submit_geometry(int64_t context)
{
    uint32_t bulk = SUBMIT_BULK;
    while (bulk < context * SUBMIT_BULK_PER_TOKEN && bulk < 1u << 30)
        bulk *= 2;
    return (struct ring_geometry){ .num_cells = SUBMIT_CELLS, .bulk_bytes = bulk };
}

static const struct ring_geometry complete_geometry = { COMPLETE_CELLS, COMPLETE_BULK };

size_t link_bytes(int64_t context)
{
    return ring_segment_bytes(submit_geometry(context)) + ring_segment_bytes(complete_geometry);
}

static void close_pair(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

int link_join(struct child *frontend, struct child *worker, int64_t context, struct error *err)
{
    const struct ring_geometry submit = submit_geometry(context);
    const uint64_t epoch = worker->incarnation, generation = frontend->incarnation;
    struct segment_header header = ring_segment_header(SEGMENT_SUBMIT, submit, epoch, generation);
    int submit_fds[2], complete_fds[2]; /* write, read */

    int r = segment_create(&header, &submit_fds[0], &submit_fds[1], err);
    if (r < 0)
        return r;
    header = ring_segment_header(SEGMENT_COMPLETE, complete_geometry, epoch, generation);
    r = segment_create(&header, &complete_fds[0], &complete_fds[1], err);
    if (r < 0) {
        close_pair(submit_fds);
        return r;
    }

    struct control_message message = {
        .engine = worker->index,
        .epoch = epoch,
        .generation = generation,
        .submit_cells = submit.num_cells,
        .submit_bulk = submit.bulk_bytes,
        .complete_cells = complete_geometry.num_cells,
        .complete_bulk = complete_geometry.bulk_bytes,
    };
    const int to_worker[] = { submit_fds[1], complete_fds[0], frontend->doorbell };
    message.kind = CONTROL_FRONTEND_LINK;
    message.peer_role = frontend->role;
    message.peer = frontend->index;
    child_send(worker, &message, to_worker, 3);

    const int to_frontend[] = { submit_fds[0], complete_fds[1], worker->doorbell,
                                worker->page_read_fd };
    message.kind = CONTROL_ENGINE_LINK;
    message.peer_role = worker->role;
    message.peer = worker->index;
    child_send(frontend, &message, to_frontend, 4);

    close_pair(submit_fds);
    close_pair(complete_fds);
    return 0;
}
