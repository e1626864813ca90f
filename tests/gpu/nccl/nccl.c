/*
 * nccl.c - what the module uses of NCCL, between processes that emulate a device
 *
 * An id names a piece of memory of rank 0. Calls are put on the emulated queue and meet there in
 * rank order, so sums have equal bits; they end when a communicator is aborted, and a rank whose
 * process is gone is an asynchronous error of the others, as is a call that another rank makes
 * differently. What must not be done is an error here as well: to use one communicator both kept
 * and launched while either is on its way, or to keep a size that was never launched.
 *
 * Communicators do not block: to join, each call and to finalize are on their way when they return,
 * and go on, as NCCL's own threads would, while ncclCommGetAsyncError() is asked. A call reaches
 * the queue at the second question, so who gives it something else before has the wrong order or
 * none. With $NCCL_IMITATION_ABORT_HANGS ncclCommAbort() does not return.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kernels/cuda/nccl.h"
#include "tests/gpu/emulator/queue.h"

enum { MAX_RANKS = 8, MAX_FLOATS = 1 << 18, NAP_NS = 50000, MAX_SIZES = 256 };

enum { IDLE, ALL_REDUCE, ALL_GATHER };

/* Of the types by which the module knows them. */
#define NAMED(name, member)                                                                        \
    __attribute__((visibility("default"))) __typeof__(*((struct nccl *)NULL)->member) name
NAMED(ncclGetVersion, version);
NAMED(ncclGetUniqueId, unique_id);
NAMED(ncclCommInitRankConfig, init);
NAMED(ncclAllReduce, all_reduce);
NAMED(ncclAllGather, all_gather);
NAMED(ncclCommGetAsyncError, async_error);
NAMED(ncclCommFinalize, finalize);
NAMED(ncclCommAbort, abort);
NAMED(ncclCommDestroy, destroy);
NAMED(ncclGetErrorString, words);

struct own {
    _Alignas(64) _Atomic uint64_t call; /* the newest that this rank has come to */
    _Atomic bool is_here;
    int32_t kind[2]; /* by call % 2 */
    uint64_t num[2];
    float values[2][MAX_FLOATS];
};

struct area {
    struct own ranks[MAX_RANKS];
};

/* What an id says. */
struct place {
    int64_t pid;
    int32_t fd;
};

struct call {
    struct ncclComm *comm;
    const float *in;
    float *out;
    uint64_t num;
    int32_t kind;
    bool is_kept;
};

enum state { READY, JOINING, GIVING, FINALIZING, FINALIZED };

struct ncclComm {
    struct area *area;
    int fd, rank, num_ranks;
    int id_fd; /* of rank 0, until all are here; else -1 */
    enum state state;
    int num_asked; /* since the state is this one */
    struct call given;
    struct queue *queue;
    bool was_used;
    uint64_t call;
    _Atomic int error;
    _Atomic bool is_over;
    _Atomic int num_launched;  /* given and not done */
    uint64_t sizes[MAX_SIZES]; /* that were launched */
    int num_sizes;
};

static void nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
}

/* A rank holds a lock on its byte for as long as it lives. */
static struct flock lock_of(int rank)
{
    return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = rank, .l_len = 1 };
}

static bool is_gone(const struct ncclComm *comm, int rank)
{
    struct flock lock = lock_of(rank);
    return fcntl(comm->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

/* --- life ----------------------------------------------------------------------------------- */

int ncclGetVersion(int *ret_version)
{
    *ret_version = NCCL_OLDEST;
    return NCCL_SUCCESS;
}

const char *ncclGetErrorString(int result)
{
    return result == NCCL_SUCCESS ? "no error" : "a rank of the imitation is gone or differs";
}

int ncclGetUniqueId(struct nccl_id *ret_id)
{
    const struct place place = { .pid = getpid(), .fd = memfd_create("nccl", MFD_CLOEXEC) };
    memset(ret_id, 0, sizeof(*ret_id));
    memcpy(ret_id->bytes, &place, sizeof(place));
    return place.fd >= 0 && ftruncate(place.fd, sizeof(struct area)) == 0 ? NCCL_SUCCESS
                                                                          : NCCL_SYSTEM_ERROR;
}

static bool is_valid(const struct nccl_config *config)
{
    return config->size >= sizeof(*config) && config->magic == NCCL_MAGIC &&
           config->version >= NCCL_OLDEST && config->blocking == 0 &&
           config->cga_cluster_size == NCCL_UNDEFINED && config->min_ctas == NCCL_UNDEFINED &&
           config->max_ctas == NCCL_UNDEFINED && config->net_name == NULL &&
           config->split_share == NCCL_UNDEFINED;
}

static void free_comm(struct ncclComm *comm)
{
    if (comm->area != MAP_FAILED)
        munmap(comm->area, sizeof(*comm->area));
    if (comm->fd >= 0)
        close(comm->fd);
    if (comm->id_fd >= 0)
        close(comm->id_fd);
    free(comm);
}

int ncclCommInitRankConfig(struct ncclComm **ret_comm, int num_ranks, struct nccl_id id, int rank,
                           struct nccl_config *config)
{
    struct ncclComm *comm = calloc(1, sizeof(*comm));
    struct flock lock = lock_of(rank);
    struct place place;
    char path[64];
    if (comm == NULL || num_ranks > MAX_RANKS)
        return NCCL_SYSTEM_ERROR;
    memcpy(&place, id.bytes, sizeof(place));
    snprintf(path, sizeof(path), "/proc/%lld/fd/%d", (long long)place.pid, (int)place.fd);
    comm->rank = rank;
    comm->num_ranks = num_ranks;
    comm->id_fd = rank == 0 ? place.fd : -1;
    comm->fd = open(path, O_RDWR | O_CLOEXEC);
    comm->area = mmap(NULL, sizeof(*comm->area), PROT_READ | PROT_WRITE, MAP_SHARED, comm->fd, 0);
    if (!is_valid(config) || comm->area == MAP_FAILED || fcntl(comm->fd, F_OFD_SETLK, &lock) < 0) {
        free_comm(comm);
        return NCCL_INVALID_ARGUMENT;
    }
    atomic_store(&comm->area->ranks[rank].is_here, true);
    comm->state = JOINING;
    *ret_comm = comm;
    return NCCL_IN_PROGRESS;
}

/* All have come, or one of those that have is gone. */
static void look_who_is_here(struct ncclComm *comm)
{
    int num_here = 0;
    bool is_lost = false;
    if (comm->num_asked == 2 && getenv("NCCL_IMITATION_ENDS_JOINING") != NULL)
        _exit(1);
    for (int r = 0; r < comm->num_ranks; r++) {
        const bool is_here = atomic_load(&comm->area->ranks[r].is_here);
        num_here += is_here;
        is_lost |= is_here && r != comm->rank && is_gone(comm, r);
    }
    if (num_here < comm->num_ranks) {
        if (is_lost)
            atomic_store(&comm->error, NCCL_REMOTE_ERROR);
        return;
    }
    if (comm->id_fd >= 0)
        close(comm->id_fd);
    comm->id_fd = -1;
    comm->state = READY;
}

static void post(struct ncclComm *comm);

int ncclCommGetAsyncError(struct ncclComm *comm, int *ret_result)
{
    comm->num_asked++;
    if (comm->state == JOINING)
        look_who_is_here(comm);
    else if (comm->state == GIVING && comm->num_asked == 2)
        post(comm);
    else if (comm->state == FINALIZING && comm->num_asked == 2)
        comm->state = FINALIZED;
    const bool is_over = comm->state == READY || comm->state == FINALIZED;
    const int error = atomic_load(&comm->error);
    *ret_result = error != NCCL_SUCCESS || is_over ? error : NCCL_IN_PROGRESS;
    return NCCL_SUCCESS;
}

static bool begins(struct ncclComm *comm, enum state state)
{
    const bool is_ready = comm->state == READY;
    if (!is_ready)
        atomic_store(&comm->error, NCCL_INVALID_ARGUMENT);
    else
        comm->state = state;
    comm->num_asked = 0;
    return is_ready;
}

int ncclCommFinalize(struct ncclComm *comm)
{
    return begins(comm, FINALIZING) ? NCCL_IN_PROGRESS : NCCL_INVALID_ARGUMENT;
}

/* Calls that were given before may still be on their way: what they use stays. */
int ncclCommAbort(struct ncclComm *comm)
{
    while (getenv("NCCL_IMITATION_ABORT_HANGS") != NULL)
        pause();
    atomic_store(&comm->is_over, true);
    if (!comm->was_used)
        free_comm(comm);
    return NCCL_SUCCESS;
}

/* Nobody looks at what this returns. */
int ncclCommDestroy(struct ncclComm *comm)
{
    if (comm->state != FINALIZED) {
        fprintf(stderr, "a communicator is destroyed that was not finalized\n");
        abort();
    }
    free_comm(comm);
    return NCCL_SUCCESS;
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Returns false when there is no point in it. */
static bool await(struct ncclComm *comm, int rank, uint64_t call)
{
    while (atomic_load(&comm->area->ranks[rank].call) < call) {
        if (atomic_load(&comm->is_over) || atomic_load(&comm->error) != NCCL_SUCCESS)
            return false;
        if (is_gone(comm, rank) && atomic_load(&comm->area->ranks[rank].call) < call) {
            atomic_store(&comm->error, NCCL_SYSTEM_ERROR);
            return false;
        }
        nap();
    }
    return true;
}

/* One piece, that fits into the area; its numbers are those of call `n` in all ranks. */
static bool meet(const struct call *c, uint64_t at, uint64_t num)
{
    struct ncclComm *comm = c->comm;
    struct own *own = &comm->area->ranks[comm->rank];
    const uint64_t n = ++comm->call, turn = n % 2;
    memcpy(own->values[turn], c->in + at, num * sizeof(float));
    own->kind[turn] = c->kind;
    own->num[turn] = num;
    atomic_store(&own->call, n);
    for (int r = 0; r < comm->num_ranks; r++) {
        const struct own *other = &comm->area->ranks[r];
        if (!await(comm, r, n))
            return false;
        if (other->kind[turn] != c->kind || other->num[turn] != num) {
            atomic_store(&comm->error, NCCL_INTERNAL_ERROR);
            return false;
        }
        float *out = c->out + at + (c->kind == ALL_GATHER ? (uint64_t)r * c->num : 0);
        for (uint64_t i = 0; i < num; i++)
            out[i] = r == 0 || c->kind == ALL_GATHER ? other->values[turn][i]
                                                     : out[i] + other->values[turn][i];
    }
    return true;
}

static void run(const void *args)
{
    const struct call *c = args;
    bool goes_on = true;
    if (c->is_kept && atomic_load(&c->comm->num_launched) > 0)
        atomic_store(&c->comm->error, NCCL_INTERNAL_ERROR);
    for (uint64_t at = 0; goes_on && at < c->num; at += MAX_FLOATS)
        goes_on = meet(c, at, c->num - at < MAX_FLOATS ? c->num - at : MAX_FLOATS);
    if (!c->is_kept)
        atomic_fetch_sub(&c->comm->num_launched, 1);
}

/* Was this size launched before? It is from now on, unless it is kept. */
static bool knows(struct ncclComm *comm, uint64_t size, bool is_kept)
{
    for (int i = 0; i < comm->num_sizes; i++)
        if (comm->sizes[i] == size)
            return true;
    if (!is_kept && comm->num_sizes < MAX_SIZES)
        comm->sizes[comm->num_sizes++] = size;
    return false;
}

static void post(struct ncclComm *comm)
{
    if (!comm->given.is_kept)
        atomic_fetch_add(&comm->num_launched, 1);
    comm->queue->call(comm->queue, run, &comm->given, sizeof(comm->given));
    comm->state = READY;
}

static int give(struct call c, void *stream)
{
    struct queue *queue = stream;
    c.is_kept = queue->keeps();
    if (!knows(c.comm, c.num * 4 + (uint64_t)c.kind, c.is_kept) && c.is_kept)
        return NCCL_INTERNAL_ERROR;
    if (!begins(c.comm, GIVING))
        return NCCL_INVALID_ARGUMENT;
    c.comm->given = c;
    c.comm->queue = queue;
    c.comm->was_used = true;
    return NCCL_IN_PROGRESS;
}

int ncclAllReduce(const void *in, void *out, size_t num, int type, int operation,
                  struct ncclComm *comm, void *stream)
{
    if (type != NCCL_FLOAT || operation != NCCL_SUM)
        return NCCL_INTERNAL_ERROR;
    return give((struct call){ comm, in, out, num, ALL_REDUCE, false }, stream);
}

int ncclAllGather(const void *in, void *out, size_t num, int type, struct ncclComm *comm,
                  void *stream)
{
    if (type != NCCL_FLOAT)
        return NCCL_INTERNAL_ERROR;
    return give((struct call){ comm, in, out, num, ALL_GATHER, false }, stream);
}
