#include "crew.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLAN_BYTES = 1 << 16, LOOK_US = 20 * 1000 };

static struct segment map(struct comm_geometry g, int32_t owner, int fd, bool is_own)
{
    const struct segment_header header = comm_segment_header(g, owner, 1);
    struct segment segment;
    struct error err;
    ck_assert_msg(segment_map(&segment, fd, is_own, &header, &err) == 0, "%s", err.message);
    return segment;
}

void crew_join(struct crew *crew, int32_t num_ranks, uint32_t num_floats)
{
    const struct comm_geometry g = { num_ranks, num_floats, PLAN_BYTES };
    struct segment segments[CREW_MAX_RANKS];
    int fds[CREW_MAX_RANKS][2];
    struct error err;
    ck_assert_int_le(num_ranks, CREW_MAX_RANKS);
    *crew = (struct crew){ .num_ranks = num_ranks };
    for (int32_t r = 0; r < num_ranks; r++) {
        struct segment_header header = comm_segment_header(g, r, 1);
        ck_assert_int_eq(segment_create(&header, &fds[r][0], &fds[r][1], &err), 0);
    }
    for (int32_t r = 0; r < num_ranks; r++) {
        struct crew_rank *rank = &crew->ranks[r];
        for (int32_t owner = 0; owner < num_ranks; owner++)
            segments[owner] = map(g, owner, fds[owner][owner == r ? 0 : 1], owner == r);
        comm_init(&rank->comm, g, r, CREW_TIMEOUT_US, segments);
        rank->communicator = communicator_of(&rank->comm);
        rank->crew = crew;
    }
    for (int32_t r = 0; r < num_ranks; r++) {
        close(fds[r][0]);
        close(fds[r][1]);
    }
}

/* --- followers ---------------------------------------------------------------------------- */

struct own {
    const struct backend *backend;
    struct device *device;
    struct model *model;
    struct follower *follower;
};

static int open_own(struct crew_rank *rank, struct own *own)
{
    const struct crew_options *options = &rank->crew->options;
    struct model_options model = *options->model;
    model.communicator = &rank->communicator;
    struct device_options device = *options->device;
    device.rank = rank->communicator.rank;
    own->backend = options->backend;
    int r = own->backend->device_open(&device, &own->device, &rank->err);
    if (r == 0)
        r = own->backend->device_join(own->device, &rank->communicator, &rank->err);
    if (r == 0)
        r = model_open(own->backend, own->device, &model, &own->model, &rank->err);
    const struct follower_options follower = { .backend = own->backend,
                                               .device = own->device,
                                               .model = own->model,
                                               .limits = *options->limits,
                                               .comm = &rank->comm,
                                               .page = rank->page };
    return r < 0 ? r : follower_create(&follower, &own->follower, &rank->err);
}

static void close_own(struct own *own)
{
    follower_destroy(own->follower);
    model_close(own->model);
    if (own->device != NULL)
        own->backend->device_close(own->device);
}

/* As worker.c follows. */
static void *follow(void *argument)
{
    struct crew_rank *rank = argument;
    struct own own = { 0 };
    int r = open_own(rank, &own);
    while (r >= 0 && !atomic_load(&rank->crew->is_over))
        r = follower_step(own.follower, LOOK_US, &rank->err);
    rank->result = atomic_load(&rank->crew->is_over) && r == -EPIPE ? 0 : r < 0 ? r : 0;
    comm_leave(&rank->comm, -EPIPE);
    close_own(&own);
    return NULL;
}

static pid_t fork_follower(struct crew_rank *rank)
{
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    const struct comm comm = rank->comm; /* joins again, as the process that it is */
    comm_init(&rank->comm, comm.geometry, comm.rank, comm.timeout_us, comm.segments);
    follow(rank);
    _exit(0);
}

void crew_start(struct crew *crew, const struct crew_options *options)
{
    crew->options = *options;
    for (int32_t r = 1; r < crew->num_ranks; r++) {
        struct crew_rank *rank = &crew->ranks[r];
        rank->page = aligned_alloc(64, sizeof(*rank->page));
        ck_assert_ptr_nonnull(rank->page);
        memset(rank->page, 0, sizeof(*rank->page));
        rank->is_running = !options->as_processes;
        if (options->as_processes)
            rank->pid = fork_follower(rank);
        else
            ck_assert_int_eq(pthread_create(&rank->thread, NULL, follow, rank), 0);
    }
}

void crew_await(struct crew *crew, int32_t rank)
{
    if (crew->ranks[rank].is_running)
        pthread_join(crew->ranks[rank].thread, NULL);
    crew->ranks[rank].is_running = false;
}

void crew_leave(struct crew *crew)
{
    if (crew->num_ranks == 0)
        return;
    atomic_store(&crew->is_over, true);
    comm_leave(&crew->ranks[0].comm, -EPIPE); /* wakes who waits for a plan */
    for (int32_t r = 0; r < crew->num_ranks; r++) {
        struct crew_rank *rank = &crew->ranks[r];
        const bool ran = rank->is_running;
        crew_await(crew, r);
        if (rank->pid > 0 && kill(rank->pid, SIGKILL) == 0)
            waitpid(rank->pid, NULL, 0);
        ck_assert_msg(!ran || rank->result == 0, "rank %d: %s", r, rank->err.message);
        comm_finish(&rank->comm);
        free(rank->page);
    }
    *crew = (struct crew){ 0 };
}
