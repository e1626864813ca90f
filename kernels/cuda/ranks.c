#include "kernels/cuda/ranks.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/nccl.h"

enum { MULTI_RANK_VERSION = 23000 };
enum { LAUNCHED, KEPT, NUM_COMMS };

struct ranks {
    struct nccl call;
    struct ncclComm *comms[NUM_COMMS];
    int32_t rank, num_ranks, kind;
    bool is_broken, was_aborted;
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
        { (void **)&ranks->call.init, "ncclCommInitRank" },
        { (void **)&ranks->call.all_reduce, "ncclAllReduce" },
        { (void **)&ranks->call.all_gather, "ncclAllGather" },
        { (void **)&ranks->call.async_error, "ncclCommGetAsyncError" },
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
static void talk_into_sharing(const struct ranks *ranks)
{
    char host[32];
    int version = 0;
    ranks->call.version(&version);
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

/* Rank 0's bytes for everybody: the others add zeros. */
static int share_id(const struct communicator *c, struct nccl_id *id)
{
    float bytes[sizeof(*id)] = { 0 };
    for (size_t i = 0; c->rank == 0 && i < sizeof(*id); i++)
        bytes[i] = (float)(unsigned char)id->bytes[i];
    const int r = c->all_reduce(c->context, bytes, (int64_t)sizeof(*id));
    for (size_t i = 0; i < sizeof(*id); i++)
        id->bytes[i] = (char)(unsigned char)bytes[i];
    return r;
}

static int meet(struct ranks *ranks, const struct communicator *c, int32_t kind, struct error *err)
{
    struct nccl_id id;
    memset(&id, 0, sizeof(id));
    int r = c->rank == 0 ? ranks->call.unique_id(&id) : NCCL_SUCCESS;
    if (r != NCCL_SUCCESS)
        return error_set(err, -EPIPE, "NCCL gives no id: %s", ranks->call.words(r));
    if (share_id(c, &id) < 0)
        return error_set(err, -EPIPE, "another rank did not come to open its GPU");
    r = ranks->call.init(&ranks->comms[kind], c->num_ranks, id, c->rank);
    return r == NCCL_SUCCESS ? 0
                             : error_set(err, -EPIPE, "NCCL: rank %d cannot join %d ranks: %s",
                                         c->rank, c->num_ranks, ranks->call.words(r));
}

int ranks_open(const char *libraries, const struct communicator *communicator, bool share_device,
               struct ranks **ret_ranks, struct error *err)
{
    static const char *const names[] = { "libnccl.so.2", NULL };
    void *handle = library_open(libraries, "nccl", names);
    if (handle == NULL)
        return error_set_param(err, -ENOENT, "cuda_libs",
                               "libnccl.so.2 is not found, which several GPUs need; see "
                               "--cuda-libs");
    struct ranks *ranks = calloc(1, sizeof(*ranks));
    if (ranks == NULL)
        return error_set(err, -ENOMEM, "no memory for NCCL");
    ranks->rank = communicator->rank;
    ranks->num_ranks = communicator->num_ranks;
    setenv("NCCL_GRAPH_MIXING_SUPPORT", "0", 0);
    int r = find_functions(ranks, handle, err);
    if (r == 0 && share_device)
        talk_into_sharing(ranks);
    for (int32_t kind = 0; r == 0 && kind < NUM_COMMS; kind++)
        r = meet(ranks, communicator, kind, err);
    if (r < 0) {
        ranks_close(ranks);
        return r;
    }
    *ret_ranks = ranks;
    return 0;
}

/* Ends what hangs, and whatever is given to it later. */
static void abort_all(struct ranks *ranks)
{
    for (int32_t kind = 0; !ranks->was_aborted && kind < NUM_COMMS; kind++)
        if (ranks->comms[kind] != NULL)
            ranks->call.abort(ranks->comms[kind]);
    ranks->is_broken = ranks->was_aborted = true;
}

void ranks_close(struct ranks *ranks)
{
    if (ranks == NULL)
        return;
    for (int32_t kind = 0; !ranks->was_aborted && kind < NUM_COMMS; kind++)
        if (ranks->comms[kind] != NULL)
            ranks->call.destroy(ranks->comms[kind]);
    free(ranks);
}

/* Of those that wait for this rank as well: they would wait for ever. */
int ranks_check(struct ranks *ranks)
{
    if (ranks == NULL)
        return 0;
    for (int32_t kind = 0; !ranks->is_broken && kind < NUM_COMMS; kind++) {
        int state = NCCL_SUCCESS;
        ranks->is_broken = ranks->call.async_error(ranks->comms[kind], &state) != NCCL_SUCCESS ||
                           state != NCCL_SUCCESS;
    }
    if (ranks->is_broken)
        abort_all(ranks);
    return ranks->is_broken ? -EPIPE : 0;
}

int ranks_abandon(struct ranks *ranks)
{
    abort_all(ranks);
    return -ETIMEDOUT;
}

void ranks_keep(struct ranks *ranks, bool keep)
{
    if (ranks != NULL)
        ranks->kind = keep ? KEPT : LAUNCHED;
}

/* A call that fails leaves the error that ranks_check() finds. */
void ranks_all_reduce(const struct launch *launch, const void *args)
{
    const struct meet_args *a = args;
    struct ranks *ranks = a->ranks;
    ranks->is_broken |=
        ranks->call.all_reduce(a->x, a->x, (size_t)a->num, NCCL_FLOAT, NCCL_SUM,
                               ranks->comms[ranks->kind], launch->stream) != NCCL_SUCCESS;
}

void ranks_all_gather(const struct launch *launch, const void *args)
{
    const struct meet_args *a = args;
    struct ranks *ranks = a->ranks;
    ranks->is_broken |=
        ranks->call.all_gather(a->x, a->gathered, (size_t)a->num, NCCL_FLOAT,
                               ranks->comms[ranks->kind], launch->stream) != NCCL_SUCCESS;
}
