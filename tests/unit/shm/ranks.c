#include "ranks.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EPOCH = 7 };

static void must(int r, const struct error *err)
{
    if (r >= 0)
        return;
    fprintf(stderr, "%s\n", err->message);
    abort();
}

void ranks_map(struct comm_geometry g, struct segment segments[][COMM_MAX_RANKS])
{
    struct error err;
    for (int32_t owner = 0; owner < g.num_ranks; owner++) {
        struct segment_header header = comm_segment_header(g, owner, EPOCH);
        int write_fd, read_fd;
        must(segment_create(&header, &write_fd, &read_fd, &err), &err);
        for (int32_t r = 0; r < g.num_ranks; r++)
            must(segment_map(&segments[r][owner], r == owner ? write_fd : read_fd, r == owner,
                             &header, &err),
                 &err);
        close(write_fd);
        close(read_fd);
    }
}

static void run_rank(struct comm_geometry g, int32_t rank, int64_t timeout_us,
                     struct segment segments[][COMM_MAX_RANKS], int (*body)(struct comm *comm))
{
    struct comm comm;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    comm_init(&comm, g, rank, timeout_us, segments[rank]);
    const int r = body(&comm);
    comm_finish(&comm);
    _exit(r == 0 ? 0 : 1);
}

unsigned ranks_run(struct comm_geometry g, int64_t timeout_us, int (*body)(struct comm *comm))
{
    static struct segment segments[COMM_MAX_RANKS][COMM_MAX_RANKS];
    pid_t pids[COMM_MAX_RANKS];
    unsigned failed = 0;
    ranks_map(g, segments);
    for (int32_t r = 0; r < g.num_ranks; r++) {
        pids[r] = fork();
        if (pids[r] == 0)
            run_rank(g, r, timeout_us, segments, body);
    }
    for (int32_t left = g.num_ranks; left > 0; left--) {
        int status;
        const pid_t pid = wait(&status);
        for (int32_t r = 0; r < g.num_ranks; r++)
            if (pids[r] == pid && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
                failed |= 1u << r;
    }
    for (int32_t r = 0; r < g.num_ranks; r++)
        for (int32_t owner = 0; owner < g.num_ranks; owner++)
            segment_unmap(&segments[r][owner]);
    return failed;
}
