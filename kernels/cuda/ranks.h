/*
 * ranks.h - sums and gathers of several GPUs by NCCL
 *
 * Opened when there is more than one rank. Rank 0's id travels through the engine's own
 * communicator, as a sum of numbers that are zero in all other ranks. The interface leaves room for
 * a sum of our own for small messages: it would be chosen in ranks_all_reduce by size.
 *
 * A rank that is gone, or hangs, is seen by ranks_check() while a step is waited for: the
 * communicator is then aborted, and the step fails.
 */
#ifndef KERNELS_CUDA_RANKS_H
#define KERNELS_CUDA_RANKS_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

struct ranks;

/* Do two ranks have the same device? NCCL must then be talked into it, for tests. */
bool ranks_share_device(const char *ordinals);

int ranks_open(const char *libraries, const struct communicator *communicator, bool share_device,
               void *stream, struct ranks **ret_ranks, struct error *err);
void ranks_close(struct ranks *ranks);  /* accepts NULL */
int ranks_check(struct ranks *ranks);   /* 0 or -EPIPE; accepts NULL */
int ranks_abandon(struct ranks *ranks); /* nobody waits any longer: -ETIMEDOUT */
int32_t ranks_num(const struct ranks *ranks);

launch_function ranks_all_reduce, ranks_all_gather;

#endif
