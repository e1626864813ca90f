#include "supervisor/rank_link.h"

#include <unistd.h>

#include "shm/comm.h"

int rank_link_join(struct child *leader, struct child followers[], uint32_t num_followers,
                   struct error *err)
{
    const int32_t num_ranks = (int32_t)num_followers + 1;
    const struct comm_geometry g = comm_geometry_of(num_ranks);
    const struct control_message message = { .kind = CONTROL_RANKS, .epoch = leader->incarnation };
    int write_fds[COMM_MAX_RANKS], read_fds[COMM_MAX_RANKS];
    int32_t made = 0;
    int r = 0;
    for (; r == 0 && made < num_ranks; made += r == 0) {
        struct segment_header header = comm_segment_header(g, made, leader->incarnation);
        r = segment_create(&header, &write_fds[made], &read_fds[made], err);
    }
    for (int32_t rank = 0; r == 0 && rank < num_ranks; rank++) {
        int fds[COMM_MAX_RANKS];
        for (int32_t i = 0; i < num_ranks; i++)
            fds[i] = i == rank ? write_fds[i] : read_fds[i];
        child_send(rank == 0 ? leader : &followers[rank - 1], &message, fds, (size_t)num_ranks);
    }
    while (made-- > 0) {
        close(write_fds[made]);
        close(read_fds[made]);
    }
    return r;
}
