#include "kernels/cuda/ranks.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/nccl.h"

enum { MULTI_RANK_VERSION = 23000 };
enum { SPIN_US = 1000, NAP_NS = 30000, PATIENCE = 8 }; /* of the deadline: what an end may take */
enum { LAUNCHED, KEPT, NUM_COMMS };

struct ranks {
    struct nccl call;
    struct ncclComm *comms[NUM_COMMS];
    int32_t rank, num_ranks, kind;
    int64_t deadline_us;
    int error; /* 0, or why it is over */
};

bool ranks_share_device(const char *ordinals)
{
    char seen[32] = { 0 };
    for (const char *at = ordinals; at != NULL && *at != '\0';) {
        const long ordinal = strtol(at, NULL, 10);
        if (ordinal >= 0 && ordinal < (long)sizeof(seen) && seen[ordinal]++ > 0)
            return true;
        at = strchr(at, ',');
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

static int find_functions(struct ranks *ranks, void *handle, struct error *err)
{
    const struct {
        void **function;
        const char *name;
    } rows[] = {
        { (void **)&ranks->call.version, "ncclGetVersion" },
        { (void **)&ranks->call.unique_id, "ncclGetUniqueId" },
        { (void **)&ranks->call.init, "ncclCommInitRankConfig" },
        { (void **)&ranks->call.all_reduce, "ncclAllReduce" },
        { (void **)&ranks->call.all_gather, "ncclAllGather" },
        { (void **)&ranks->call.async_error, "ncclCommGetAsyncError" },
        { (void **)&ranks->call.finalize, "ncclCommFinalize" },
        { (void **)&ranks->call.abort, "ncclCommAbort" },
        { (void **)&ranks->call.destroy, "ncclCommDestroy" },
        { (void **)&ranks->call.words, "ncclGetErrorString" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((*rows[i].function = dlsym(handle, rows[i].name)) == NULL)
            return error_set(err, -EPROTO, "NCCL has no %s", rows[i].name);
    return 0;
}

/* Newer versions allow it when asked; to older ones each rank pretends to be a host of its own. */
static void talk_into_sharing(const struct ranks *ranks, int version)
{
    char host[32];
    if (version >= MULTI_RANK_VERSION) {
        setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0);
        setenv("NCCL_MAX_CTAS", "1", 0);
        return;
    }
    snprintf(host, sizeof(host), "tokenring-%d", ranks->rank);
    setenv("NCCL_HOSTID", host, 0);
    setenv("NCCL_SOCKET_IFNAME", "lo", 0);
    setenv("NCCL_IB_DISABLE", "1", 0);
    setenv("NCCL_ALGO", "Ring", 0);
    setenv("NCCL_PROTO", "Simple", 0);
}

static int look_up(struct ranks *ranks, void *handle, bool share_device, struct error *err)
{
    int version = 0;
    const int r = find_functions(ranks, handle, err);
    if (r < 0)
        return r;
    ranks->call.version(&version);
    if (version < NCCL_OLDEST)
        return error_set(err, -EPROTO, "NCCL is version %d, wanted %d (2.18) or later", version,
                         NCCL_OLDEST);
    setenv("NCCL_GRAPH_MIXING_SUPPORT", "0", 0);
    if (share_device)
        talk_into_sharing(ranks, version);
    return 0;
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* What comes of a call that said `state`: NCCL_IN_PROGRESS when it is not over at `until`. */
static int await(const struct ranks *ranks, struct ncclComm *comm, int state, int64_t until)
{
    const int64_t begun = clock_now_us();
    while (state == NCCL_IN_PROGRESS) {
        const int r = ranks->call.async_error(comm, &state);
        const int64_t now = clock_now_us();
        if (r != NCCL_SUCCESS)
            return r;
        if (state != NCCL_IN_PROGRESS || now > until)
            break;
        if (now - begun > SPIN_US)
            nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
        else
            sched_yield();
    }
    return state;
}

static int64_t patience(const struct ranks *ranks)
{
    return ranks->deadline_us / PATIENCE;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* What a thread aborts; freed by it. */
struct ending {
    int (*abort)(struct ncclComm *comm);
    struct ncclComm *comms[NUM_COMMS];
};

static void *abort_comms(void *argument)
{
    struct ending *ending = argument;
    for (int32_t kind = 0; kind < NUM_COMMS; kind++)
        if (ending->comms[kind] != NULL)
            ending->abort(ending->comms[kind]);
    free(ending);
    return NULL;
}

/* Waits no longer than `us`. */
static void abort_within(struct ending *ending, int64_t us)
{
    pthread_t thread;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += us / 1000000 + 1;
    if (pthread_create(&thread, NULL, abort_comms, ending) != 0)
        abort_comms(ending);
    else if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        pthread_detach(thread);
}

/* Ends what hangs. Nobody uses the communicators any more. */
static void abort_all(struct ranks *ranks)
{
    bool any = false;
    struct ending *ending = malloc(sizeof(*ending));
    if (ending == NULL)
        return; /* the process ends, and they with it */
    ending->abort = ranks->call.abort;
    for (int32_t kind = 0; kind < NUM_COMMS; kind++) {
        any |= ranks->comms[kind] != NULL;
        ending->comms[kind] = ranks->comms[kind];
        ranks->comms[kind] = NULL;
    }
    if (any)
        abort_within(ending, patience(ranks));
    else
        free(ending);
}

/* All ranks end at about the same time; what does not get that far is left. */
static void finalize_all(struct ranks *ranks)
{
    const int64_t until = clock_now_us() + patience(ranks);
    for (int32_t kind = 0; kind < NUM_COMMS; kind++) {
        struct ncclComm *comm = ranks->comms[kind];
        if (comm == NULL || await(ranks, comm, ranks->call.finalize(comm), until) != NCCL_SUCCESS)
            return;
        ranks->call.destroy(comm);
        ranks->comms[kind] = NULL;
    }
}

void ranks_close(struct ranks *ranks)
{
    if (ranks == NULL)
        return;
    if (ranks->error == 0)
        finalize_all(ranks);
    abort_all(ranks);
    free(ranks);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static double seconds_since(int64_t begun)
{
    return (double)(clock_now_us() - begun) / 1e6;
}

/* Rank 0's bytes for everybody: the others add zeros. All at once, so that nothing but NCCL is
 * waited for afterwards. */
static int share_ids(const struct communicator *c, struct nccl_id ids[NUM_COMMS], struct error *err)
{
    enum { SIZE = NUM_COMMS * sizeof(ids[0].bytes) };
    float bytes[SIZE] = { 0 };
    const int64_t begun = clock_now_us();
    for (size_t i = 0; c->rank == 0 && i < SIZE; i++)
        bytes[i] = (float)(unsigned char)ids[i / sizeof(ids->bytes)].bytes[i % sizeof(ids->bytes)];
    const int r = c->all_reduce(c->context, bytes, SIZE);
    if (r < 0)
        return error_set(err, r == -ETIMEDOUT ? r : -EPIPE,
                         "rank %d waited %.1f s for the other ranks to open their GPUs: %s",
                         c->rank, seconds_since(begun),
                         r == -ETIMEDOUT ? "one of them did not come" : "one of them has ended");
    for (size_t i = 0; i < SIZE; i++)
        ids[i / sizeof(ids->bytes)].bytes[i % sizeof(ids->bytes)] = (char)(unsigned char)bytes[i];
    return 0;
}

static int make_ids(const struct ranks *ranks, struct nccl_id ids[NUM_COMMS], struct error *err)
{
    int r = NCCL_SUCCESS;
    memset(ids, 0, NUM_COMMS * sizeof(*ids));
    for (int32_t kind = 0; ranks->rank == 0 && r == NCCL_SUCCESS && kind < NUM_COMMS; kind++)
        r = ranks->call.unique_id(&ids[kind]);
    return r == NCCL_SUCCESS ? 0
                             : error_set(err, -EPIPE, "NCCL gives no id: %s", ranks->call.words(r));
}

/* `begun`: when the first communicator was. */
static int join(struct ranks *ranks, int32_t kind, struct nccl_id id, int64_t begun,
                struct error *err)
{
    struct nccl_config config = { .size = sizeof(config),
                                  .magic = NCCL_MAGIC,
                                  .version = NCCL_OLDEST,
                                  .blocking = 0,
                                  .cga_cluster_size = NCCL_UNDEFINED,
                                  .min_ctas = NCCL_UNDEFINED,
                                  .max_ctas = NCCL_UNDEFINED,
                                  .split_share = NCCL_UNDEFINED };
    int state = ranks->call.init(&ranks->comms[kind], ranks->num_ranks, id, ranks->rank, &config);
    state = await(ranks, ranks->comms[kind], state, begun + ranks->deadline_us);
    if (state == NCCL_SUCCESS)
        return 0;
    ranks->error = state == NCCL_IN_PROGRESS ? -ETIMEDOUT : -EPIPE;
    if (state == NCCL_IN_PROGRESS)
        return error_set(
            err, -ETIMEDOUT,
            "NCCL: rank %d waited %.1f s for all %d ranks to join: not all of them did",
            ranks->rank, seconds_since(begun), ranks->num_ranks);
    return error_set(err, -EPIPE, "NCCL: rank %d cannot join %d ranks after %.1f s: %s",
                     ranks->rank, ranks->num_ranks, seconds_since(begun), ranks->call.words(state));
}

static int meet(struct ranks *ranks, const struct communicator *communicator, struct error *err)
{
    struct nccl_id ids[NUM_COMMS];
    int r = make_ids(ranks, ids, err);
    if (r == 0)
        r = share_ids(communicator, ids, err);
    const int64_t begun = clock_now_us();
    for (int32_t kind = 0; r == 0 && kind < NUM_COMMS; kind++)
        r = join(ranks, kind, ids[kind], begun, err);
    return r;
}

int ranks_open(const struct ranks_options *options, struct ranks **ret_ranks, struct error *err)
{
    static const char *const names[] = { "libnccl.so.2", NULL };
    void *handle = library_open(options->libraries, "nccl", names);
    if (handle == NULL)
        return error_set_param(err, -ENOENT, "cuda_libs",
                               "libnccl.so.2 is not found, which several GPUs need; see "
                               "--cuda-libs");
    struct ranks *ranks = calloc(1, sizeof(*ranks));
    if (ranks == NULL)
        return error_set(err, -ENOMEM, "no memory for NCCL");
    ranks->rank = options->communicator->rank;
    ranks->num_ranks = options->communicator->num_ranks;
    ranks->deadline_us = options->deadline_us;
    int r = look_up(ranks, handle, options->share_device, err);
    if (r == 0)
        r = meet(ranks, options->communicator, err);
    if (r < 0) {
        ranks_close(ranks);
        return r;
    }
    *ret_ranks = ranks;
    return 0;
}

/* --- steps ------------------------------------------------------------------------------------ */

/* Of those that wait for this rank as well: they would wait for ever. */
int ranks_check(struct ranks *ranks)
{
    if (ranks == NULL)
        return 0;
    for (int32_t kind = 0; ranks->error == 0 && kind < NUM_COMMS; kind++) {
        int state = NCCL_SUCCESS;
        if (ranks->call.async_error(ranks->comms[kind], &state) != NCCL_SUCCESS ||
            (state != NCCL_SUCCESS && state != NCCL_IN_PROGRESS))
            ranks->error = -EPIPE;
    }
    if (ranks->error != 0)
        abort_all(ranks);
    return ranks->error;
}

int ranks_abandon(struct ranks *ranks)
{
    ranks->error = -ETIMEDOUT;
    abort_all(ranks);
    return ranks->error;
}

void ranks_keep(struct ranks *ranks, bool keep)
{
    if (ranks != NULL)
        ranks->kind = keep ? KEPT : LAUNCHED;
}

/* Before this returns the call is on the stream, or in the graph; else ranks_check() says why not.
 */
static void await_posted(struct ranks *ranks, int state)
{
    const int64_t until = clock_now_us() + ranks->deadline_us;
    state = await(ranks, ranks->comms[ranks->kind], state, until);
    if (state != NCCL_SUCCESS)
        ranks->error = state == NCCL_IN_PROGRESS ? -ETIMEDOUT : -EPIPE;
}

void ranks_all_reduce(const struct launch *launch, const void *args)
{
    const struct meet_args *a = args;
    struct ranks *ranks = a->ranks;
    if (ranks->error == 0)
        await_posted(ranks, ranks->call.all_reduce(a->x, a->x, (size_t)a->num, NCCL_FLOAT, NCCL_SUM,
                                                   ranks->comms[ranks->kind], launch->stream));
}

void ranks_all_gather(const struct launch *launch, const void *args)
{
    const struct meet_args *a = args;
    struct ranks *ranks = a->ranks;
    if (ranks->error == 0)
        await_posted(ranks, ranks->call.all_gather(a->x, a->gathered, (size_t)a->num, NCCL_FLOAT,
                                                   ranks->comms[ranks->kind], launch->stream));
}
