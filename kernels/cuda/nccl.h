/*
 * nccl.h - the part of NCCL's interface that is used, as it has been since 2.4
 *
 * Its library is found at run time, so that nothing of it is needed to build the module.
 */
#ifndef KERNELS_CUDA_NCCL_H
#define KERNELS_CUDA_NCCL_H

#include <stddef.h>

enum nccl_result { NCCL_SUCCESS, NCCL_CUDA_ERROR, NCCL_SYSTEM_ERROR, NCCL_INTERNAL_ERROR };
enum nccl_type { NCCL_FLOAT = 7 };
enum nccl_operation { NCCL_SUM = 0 };

struct nccl_id {
    char bytes[128];
};

struct ncclComm;

/* By the names of the library's functions. Streams are cudaStream_t. */
struct nccl {
    int (*version)(int *ret_version);
    int (*unique_id)(struct nccl_id *ret_id);
    int (*init)(struct ncclComm **ret_comm, int num_ranks, struct nccl_id id, int rank);
    int (*all_reduce)(const void *in, void *out, size_t num, int type, int operation,
                      struct ncclComm *comm, void *stream);
    int (*all_gather)(const void *in, void *out, size_t num, int type, struct ncclComm *comm,
                      void *stream);
    int (*async_error)(struct ncclComm *comm, int *ret_result);
    int (*abort)(struct ncclComm *comm);
    int (*destroy)(struct ncclComm *comm);
    const char *(*words)(int result);
};

#endif
