#include "kernels/cuda/ranks.h"

#include <dlfcn.h>
#include <errno.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"

enum { MULTI_RANK_VERSION = 23000 };

struct ranks {
    ncclComm_t comm;
    int32_t rank, num_ranks;
    bool is_broken;
    struct {
        ncclResult_t (*version)(int *);
        ncclResult_t (*unique_id)(ncclUniqueId *);
        ncclResult_t (*init)(ncclComm_t *, int, ncclUniqueId, int);
        ncclResult_t (*all_reduce)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t,
                                   ncclComm_t, cudaStream_t);
        ncclResult_t (*all_gather)(const void *, void *, size_t, ncclDataType_t, ncclComm_t,
                                   cudaStream_t);
        ncclResult_t (*async_error)(ncclComm_t, ncclResult_t *);
        ncclResult_t (*abort)(ncclComm_t);
        ncclResult_t (*destroy)(ncclComm_t);
        const char *(*words)(ncclResult_t);
    } call;
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
static int share_id(const struct communicator *c, ncclUniqueId *id)
{
    float bytes[sizeof(*id)] = { 0 };
    for (size_t i = 0; c->rank == 0 && i < sizeof(*id); i++)
        bytes[i] = (float)(unsigned char)id->internal[i];
    const int r = c->all_reduce(c->context, bytes, (int64_t)sizeof(*id));
    for (size_t i = 0; i < sizeof(*id); i++)
        id->internal[i] = (char)(unsigned char)bytes[i];
    return r;
}

static int meet(struct ranks *ranks, const struct communicator *c, struct error *err)
{
    ncclUniqueId id;
    memset(&id, 0, sizeof(id));
    ncclResult_t r = c->rank == 0 ? ranks->call.unique_id(&id) : ncclSuccess;
    if (r != ncclSuccess)
        return error_set(err, -EPIPE, "NCCL gives no id: %s", ranks->call.words(r));
    if (share_id(c, &id) < 0)
        return error_set(err, -EPIPE, "another rank did not come to open its GPU");
    r = ranks->call.init(&ranks->comm, c->num_ranks, id, c->rank);
    return r == ncclSuccess ? 0
                            : error_set(err, -EPIPE, "NCCL: rank %d cannot join %d ranks: %s",
                                        c->rank, c->num_ranks, ranks->call.words(r));
}

int ranks_open(const char *libraries, const struct communicator *communicator, bool share_device,
               void *stream, struct ranks **ret_ranks, struct error *err)
{
    static const char *const names[] = { "libnccl.so.2", NULL };
    (void)stream;
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
    if (r == 0)
        r = meet(ranks, communicator, err);
    if (r < 0) {
        free(ranks);
        return r;
    }
    *ret_ranks = ranks;
    return 0;
}

void ranks_close(struct ranks *ranks)
{
    if (ranks == NULL)
        return;
    if (ranks->is_broken) /* aborted already */
        ;
    else
        ranks->call.destroy(ranks->comm);
    free(ranks);
}

int ranks_check(struct ranks *ranks)
{
    ncclResult_t state = ncclSuccess;
    if (ranks == NULL)
        return 0;
    if (!ranks->is_broken &&
        (ranks->call.async_error(ranks->comm, &state) != ncclSuccess || state != ncclSuccess)) {
        ranks->is_broken = true;
        ranks->call.abort(ranks->comm);
    }
    return ranks->is_broken ? -EPIPE : 0;
}

int ranks_abandon(struct ranks *ranks)
{
    if (!ranks->is_broken)
        ranks->call.abort(ranks->comm);
    ranks->is_broken = true;
    return -ETIMEDOUT;
}

int32_t ranks_num(const struct ranks *ranks)
{
    return ranks->num_ranks;
}

/* A call that fails leaves the error that ranks_check() finds. */
void ranks_all_reduce(const struct launch *launch, const void *args)
{
    const struct meet_args *a = args;
    if (a->ranks->call.all_reduce(a->x, a->x, (size_t)a->num, ncclFloat32, ncclSum, a->ranks->comm,
                                  launch->stream) != ncclSuccess)
        a->ranks->is_broken = true;
}

void ranks_all_gather(const struct launch *launch, const void *args)
{
    const struct meet_args *a = args;
    if (a->ranks->call.all_gather(a->x, a->gathered, (size_t)a->num, ncclFloat32, a->ranks->comm,
                                  launch->stream) != ncclSuccess)
        a->ranks->is_broken = true;
}
