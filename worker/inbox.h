/*
 * inbox.h - the control socket, read by a thread of its own
 *
 * The engine's thread must not make a system call in every step to see whether the supervisor
 * said something, and cannot look at all while it loads a model. So a second thread waits at
 * the socket, keeps messages until the engine asks, and rings the engine's doorbell. It ends the
 * process itself when the supervisor is gone or says STOP while a model is loading, and a second
 * after that when the engine does not.
 */
#ifndef WORKER_INBOX_H
#define WORKER_INBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "proto/records/control.h"
#include "shm/channel.h"
#include "shm/status.h"

struct inbox;

struct inbox_message {
    struct control_message control;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
};

/* Start the thread. It beats on `page` until inbox_end_loading(). Returns 0 or -ENOMEM, -EAGAIN. */
int inbox_open(int control_fd, int doorbell, struct status_page *page, struct inbox **ret_inbox,
               struct error *err);

/* From here on the engine's thread beats and looks here. */
void inbox_end_loading(struct inbox *inbox);

/* Has the supervisor told this process to end, or gone away? */
bool inbox_must_stop(const struct inbox *inbox);

/* Returns false when nothing has come (one load). The descriptors are the caller's. */
bool inbox_take(struct inbox *inbox, struct inbox_message *ret_message);

#endif
