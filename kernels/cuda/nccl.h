/*
 * nccl.h - the part of NCCL's interface that is used, as it has been since 2.18
 *
 * Its library is found at run time, so that nothing of it is needed to build the module. Where
 * NVIDIA's nccl.h is installed, tests/gpu/nccl/header.c holds this one against it.
 */
#ifndef KERNELS_CUDA_NCCL_H
#define KERNELS_CUDA_NCCL_H

#include <limits.h>
#include <stddef.h>

enum { NCCL_OLDEST = 21800, NCCL_UNDEFINED = INT_MIN };
#define NCCL_MAGIC 0xcafebeefu

enum nccl_result {
    NCCL_SUCCESS,
    NCCL_CUDA_ERROR,
    NCCL_SYSTEM_ERROR,
    NCCL_INTERNAL_ERROR,
    NCCL_INVALID_ARGUMENT,
    NCCL_INVALID_USAGE,
    NCCL_REMOTE_ERROR,
    NCCL_IN_PROGRESS,
};
enum nccl_type { NCCL_FLOAT = 7 };
enum nccl_operation { NCCL_SUM = 0 };

struct nccl_id {
    char bytes[128];
};

/* As of NCCL_OLDEST. Later libraries have more fields: they take as many as `size` says, and what
 * is newer than `version` as nobody's wish. */
struct nccl_config {
    size_t size;
    unsigned int magic, version;
    int blocking, cga_cluster_size, min_ctas, max_ctas;
    const char *net_name;
    int split_share;
};

struct ncclComm;

/* By the names of the library's functions. Streams are cudaStream_t. */
struct nccl {
    int (*version)(int *ret_version);
    int (*unique_id)(struct nccl_id *ret_id);
    int (*init)(struct ncclComm **ret_comm, int num_ranks, struct nccl_id id, int rank,
                struct nccl_config *config);
    int (*all_reduce)(const void *in, void *out, size_t num, int type, int operation,
                      struct ncclComm *comm, void *stream);
    int (*all_gather)(const void *in, void *out, size_t num, int type, struct ncclComm *comm,
                      void *stream);
    int (*async_error)(struct ncclComm *comm, int *ret_result);
    int (*finalize)(struct ncclComm *comm);
    int (*abort)(struct ncclComm *comm);
    int (*destroy)(struct ncclComm *comm);
    const char *(*words)(int result);
};

#endif
