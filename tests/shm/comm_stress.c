/*
 * comm_stress.c - ranks that add and receive plans, with random pauses
 *
 *     comm_stress RANKS CALLS            a process per rank; prints the time of one call
 *     comm_stress RANKS CALLS threads    a thread per rank, for ThreadSanitizer
 *     comm_stress RANKS KILLS kills      a rank is killed at a random instant, KILLS times; all
 *                                        others must notice
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/broadcast.h"

enum { NUM_FLOATS = 4096, PLAN_BYTES = 1024, TIMEOUT_US = 30 * 1000 * 1000 };

struct rank {
    struct comm comm;
    unsigned calls;
    int result;
};

static struct segment segments[COMM_MAX_RANKS][COMM_MAX_RANKS];

/* Of all followers, to the plan before `call`. */
static int check_answers(struct comm *comm, unsigned call)
{
    unsigned before = 0;
    uint32_t len;
    int r = broadcast_end(comm);
    for (int32_t rank = 1; r == 0 && rank < comm->geometry.num_ranks; rank++) {
        const void *answer = broadcast_answer(comm, rank, &len);
        if (answer == NULL || len != sizeof(before))
            return -EPROTO;
        memcpy(&before, answer, sizeof(before));
        r = before == call - 1 ? 0 : -EBADMSG;
    }
    return r;
}

static int plan(struct comm *comm, unsigned call)
{
    unsigned char bytes[PLAN_BYTES];
    uint32_t len;
    if (comm->rank == 0) {
        memset(bytes, (int)(call % 256), sizeof(bytes));
        const int r = broadcast_publish(comm, bytes, sizeof(bytes));
        return r == 0 && comm->counts[COMM_PLANNED] > 1 ? check_answers(comm, call) : r;
    }
    const int r = broadcast_take(comm, bytes, &len, TIMEOUT_US);
    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    for (unsigned i = 0; i < len; i++)
        if (bytes[i] != call % 256)
            return -EBADMSG;
    broadcast_done(comm, &call, sizeof(call));
    return 0;
}

static int step(struct comm *comm, unsigned call)
{
    static _Thread_local float x[NUM_FLOATS];
    const unsigned num = call % 7 == 0 ? NUM_FLOATS : 256;
    const int32_t n = comm->geometry.num_ranks;
    if (call % 64 == (unsigned)comm->rank)
        usleep(call % 3 * 100);
    for (unsigned i = 0; i < num; i++)
        x[i] = (float)(call % 1000 + i + (unsigned)comm->rank);
    int r = plan(comm, call);
    if (r == 0)
        r = comm_all_reduce(comm, x, num);
    for (unsigned i = 0; r == 0 && i < num; i++)
        if (x[i] != (float)n * (float)(call % 1000 + i) + (float)(n * (n - 1) / 2))
            r = -EBADMSG;
    return r;
}

static void *run(void *argument)
{
    struct rank *rank = argument;
    for (unsigned call = 1; rank->result == 0 && call <= rank->calls; call++)
        rank->result = step(&rank->comm, call);
    if (rank->result == 0)
        rank->result = comm_barrier(&rank->comm); /* nobody leaves early */
    return NULL;
}

static void must(int r, const struct error *err)
{
    if (r >= 0)
        return;
    fprintf(stderr, "comm_stress: %s\n", err->message);
    exit(EXIT_FAILURE);
}

/* Threads share one mapping, or ThreadSanitizer would not see that it is the same memory. */
static void map(struct comm_geometry g, bool threads)
{
    struct error err;
    for (int32_t owner = 0; owner < g.num_ranks; owner++) {
        struct segment_header header = comm_segment_header(g, owner, 1);
        int fds[2];
        must(segment_create(&header, &fds[0], &fds[1], &err), &err);
        must(segment_map(&segments[owner][owner], fds[0], true, &header, &err), &err);
        for (int32_t r = 0; r < g.num_ranks; r++)
            if (r != owner && threads)
                segments[r][owner] = segments[owner][owner];
            else if (r != owner)
                must(segment_map(&segments[r][owner], fds[1], false, &header, &err), &err);
        close(fds[0]);
        close(fds[1]);
    }
}

static void unmap(struct comm_geometry g)
{
    for (int32_t r = 0; r < g.num_ranks; r++)
        for (int32_t owner = 0; owner < g.num_ranks; owner++)
            segment_unmap(&segments[r][owner]);
}

static int run_threads(struct comm_geometry g, unsigned calls)
{
    static struct rank ranks[COMM_MAX_RANKS];
    pthread_t ids[COMM_MAX_RANKS];
    int failed = 0;
    map(g, true);
    for (int32_t r = 0; r < g.num_ranks; r++) {
        ranks[r].calls = calls;
        comm_init(&ranks[r].comm, g, r, TIMEOUT_US, segments[r]);
    }
    for (int32_t r = 0; r < g.num_ranks; r++)
        if (pthread_create(&ids[r], NULL, run, &ranks[r]) != 0)
            exit(EXIT_FAILURE);
    for (int32_t r = 0; r < g.num_ranks; r++) {
        pthread_join(ids[r], NULL);
        failed |= ranks[r].result;
    }
    return failed;
}

static pid_t start_rank(struct comm_geometry g, int32_t r, unsigned calls)
{
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct rank rank = { .calls = calls };
    comm_init(&rank.comm, g, r, TIMEOUT_US, segments[r]);
    run(&rank);
    comm_finish(&rank.comm);
    _exit(rank.result == 0 ? 0 : rank.result == -EPIPE ? 2 : 3);
}

/* Wait for all; `victim` (or -1) must have been killed, the others end with `wanted`. */
static int reap(struct comm_geometry g, const pid_t *pids, int32_t victim, int wanted)
{
    int failed = 0;
    for (int32_t r = 0; r < g.num_ranks; r++) {
        int status;
        if (waitpid(pids[r], &status, 0) != pids[r])
            failed = 1;
        else if (r != victim && !(WIFEXITED(status) && WEXITSTATUS(status) == wanted))
            failed = 1;
    }
    return failed;
}

static int run_processes(struct comm_geometry g, unsigned calls)
{
    pid_t pids[COMM_MAX_RANKS];
    map(g, false);
    const int64_t start = clock_now_us();
    for (int32_t r = 0; r < g.num_ranks; r++)
        pids[r] = start_rank(g, r, calls);
    const int failed = reap(g, pids, -1, 0);
    printf("%d ranks: %.2f us per plan and sum\n", g.num_ranks,
           (double)(clock_now_us() - start) / calls);
    return failed;
}

static int run_kills(struct comm_geometry g, unsigned kills)
{
    pid_t pids[COMM_MAX_RANKS];
    int failed = 0;
    srand(1);
    for (unsigned k = 0; k < kills && failed == 0; k++) {
        const int32_t victim = (int32_t)(k % (unsigned)g.num_ranks);
        map(g, false);
        for (int32_t r = 0; r < g.num_ranks; r++)
            pids[r] = start_rank(g, r, 1u << 30);
        /* Who dies before it said who it is, is missed until the time limit. */
        const struct comm_page *page = segments[0][victim].base;
        while (atomic_load((_Atomic uint32_t *)&page->pid) == 0)
            usleep(100);
        usleep((useconds_t)(rand() % 4000));
        kill(pids[victim], SIGKILL);
        failed = reap(g, pids, victim, 2);
        unmap(g);
    }
    return failed;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return EXIT_FAILURE;
    const struct comm_geometry g = { atoi(argv[1]), NUM_FLOATS, PLAN_BYTES };
    const unsigned num = (unsigned)atoi(argv[2]);
    const char *mode = argc > 3 ? argv[3] : "";
    const int failed = strcmp(mode, "threads") == 0 ? run_threads(g, num)
                       : strcmp(mode, "kills") == 0 ? run_kills(g, num)
                                                    : run_processes(g, num);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
