/* kernels/cuda/nccl.h says what NVIDIA's header says: it compiles. */
#include <assert.h>
#include <nccl.h>
#include <stddef.h>

#include "kernels/cuda/nccl.h"

#define SAME(own, theirs) static_assert((long long)(own) == (long long)(theirs), #own)
#define SAME_PLACE(own, theirs)                                                                    \
    static_assert(offsetof(struct nccl_config, own) == offsetof(ncclConfig_t, theirs) &&           \
                      sizeof(((struct nccl_config *)0)->own) ==                                    \
                          sizeof(((ncclConfig_t *)0)->theirs),                                     \
                  #own)

SAME(NCCL_SUCCESS, ncclSuccess);
SAME(NCCL_CUDA_ERROR, ncclUnhandledCudaError);
SAME(NCCL_SYSTEM_ERROR, ncclSystemError);
SAME(NCCL_INTERNAL_ERROR, ncclInternalError);
SAME(NCCL_INVALID_ARGUMENT, ncclInvalidArgument);
SAME(NCCL_INVALID_USAGE, ncclInvalidUsage);
SAME(NCCL_REMOTE_ERROR, ncclRemoteError);
SAME(NCCL_IN_PROGRESS, ncclInProgress);
SAME(NCCL_FLOAT, ncclFloat32);
SAME(NCCL_SUM, ncclSum);
SAME(NCCL_UNDEFINED, NCCL_CONFIG_UNDEF_INT);
SAME(NCCL_OLDEST, NCCL_VERSION(2, 18, 0));
SAME(sizeof(struct nccl_id), sizeof(ncclUniqueId));
SAME_PLACE(size, size);
SAME_PLACE(magic, magic);
SAME_PLACE(version, version);
SAME_PLACE(blocking, blocking);
SAME_PLACE(cga_cluster_size, cgaClusterSize);
SAME_PLACE(min_ctas, minCTAs);
SAME_PLACE(max_ctas, maxCTAs);
SAME_PLACE(net_name, netName);
SAME_PLACE(split_share, splitShare);

/* A library takes the first bytes of ours for its own: there must be as many. */
static_assert(sizeof(struct nccl_config) <= sizeof(ncclConfig_t), "");

int main(void)
{
    const ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
    return theirs.magic == NCCL_MAGIC && theirs.version >= NCCL_OLDEST && theirs.netName == NULL
               ? 0
               : 1;
}
