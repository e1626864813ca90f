/*
 * communicator.h - ranks of the CPU: the communicator of a device over shared memory
 */
#ifndef WORKER_COMMUNICATOR_H
#define WORKER_COMMUNICATOR_H

#include "kernels/backend.h"
#include "shm/comm.h"

/* `comm` stays the caller's and outlives what is returned. A running device has it alone. */
struct communicator communicator_of(struct comm *comm);

#endif
