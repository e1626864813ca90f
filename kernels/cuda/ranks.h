/*
 * ranks.h - sums and gathers of several GPUs by NCCL
 *
 * Opened when there is more than one rank. Ids travel through the engine's own communicator, as
 * sums of numbers that are zero in all ranks but the first.
 *
 * There are two communicators: one for lists that are launched, one for those that are kept as
 * graphs. NCCL can mix both on one, but then orders its calls itself, by events around each; here
 * all of them are on one queue and in one order in all ranks, so it is told to leave that
 * (NCCL_GRAPH_MIXING_SUPPORT=0), and each communicator sees one kind. Before a list is kept it runs
 * once on the kept one's communicator, while nothing else does: what a size needs for the first
 * time cannot be made while it is captured.
 *
 * A sum of our own for small messages would be a launch function beside ranks_all_reduce(), chosen
 * by the number of floats where record.c records it: lists of all ranks have the same.
 *
 * A rank that is gone, or hangs, is seen by ranks_check() while a step is waited for, or by the
 * deadline: the communicators are then aborted, and the step fails.
 */
#ifndef KERNELS_CUDA_RANKS_H
#define KERNELS_CUDA_RANKS_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

struct ranks;

/* Do two ranks have the same device? NCCL must then be talked into it, for tests. */
bool ranks_share_device(const char *ordinals);

int ranks_open(const char *libraries, const struct communicator *communicator, bool share_device,
               struct ranks **ret_ranks, struct error *err);
void ranks_close(struct ranks *ranks);           /* accepts NULL */
int ranks_check(struct ranks *ranks);            /* 0 or -EPIPE, which is final; accepts NULL */
int ranks_abandon(struct ranks *ranks);          /* nobody waits any longer: -ETIMEDOUT */
void ranks_keep(struct ranks *ranks, bool keep); /* what is launched next is kept; accepts NULL */

launch_function ranks_all_reduce, ranks_all_gather;

#endif
