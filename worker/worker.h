/*
 * worker.h - the role of a worker: one CPU rank that leads its engine
 *
 * Reads the settings, loads the model, sizes the KV cache, warms up, tells its facts on the
 * status page, says READY, and serves until the supervisor says STOP or is gone.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stddef.h>

#include "proto/records/control.h"

/* Takes over the descriptors. Returns the exit code; a failure was told to the supervisor. */
int worker_main(int control_fd, const struct control_message *hello, const int *fds,
                size_t num_fds);

#endif
