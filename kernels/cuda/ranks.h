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
 * Communicators do not block. NCCL then does what may hang (to join, to connect when a sum is
 * launched for the first time, to flush) in a thread of its own, and a call may say that it is on
 * its way; before it is over nothing else may be given to the communicator, nor a kernel to the
 * stream. So each call is waited for here, also those that a graph keeps: in a graph an operation
 * stands where it was given. A wait that passes the deadline ends in ncclCommAbort(), which NCCL
 * allows at any point of such communicators and at none of others. The price is a thread of NCCL's
 * (from 2.23 on) and its end for each sum that is launched, tens of us; replaying a graph calls
 * nothing. The host is ahead of the device by more than that in lists long enough not to be kept.
 * NCCL_COMM_BLOCKING=1 in the environment makes NCCL block all the same: then nothing here has a
 * deadline but steps.
 *
 * A rank that is gone, or hangs, is seen by ranks_check() while a step is waited for, or by the
 * deadline: the communicators are then aborted, and the step fails. Abort may hang itself, so it
 * has a thread, and a part of the deadline; after that the thread is left to the end of the
 * process.
 */
#ifndef KERNELS_CUDA_RANKS_H
#define KERNELS_CUDA_RANKS_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

struct ranks;

/* Do two ranks have the same device? NCCL must then be talked into it, for tests. */
bool ranks_share_device(const char *ordinals);

/* How to meet. */
struct ranks_options {
    const char *libraries; /* "" or a folder with NCCL's */
    const struct communicator *communicator;
    bool share_device;
    int64_t deadline_us; /* of all that is waited for: to join, to launch */
};

/* 0; -ENOENT or -EPROTO without a library of ours, -EPIPE when a rank or NCCL failed, -ETIMEDOUT
 * when not all ranks have joined at the deadline. Ids travel by the communicator, which has its
 * own. */
int ranks_open(const struct ranks_options *options, struct ranks **ret_ranks, struct error *err);
void ranks_close(struct ranks *ranks);           /* accepts NULL */
int ranks_check(struct ranks *ranks);            /* 0, or an error, which is final; accepts NULL */
int ranks_abandon(struct ranks *ranks);          /* nobody waits any longer: -ETIMEDOUT */
void ranks_keep(struct ranks *ranks, bool keep); /* what is launched next is kept; accepts NULL */

launch_function ranks_all_reduce, ranks_all_gather;

#endif
