/*
 * frontend.h - the HTTP process
 *
 * README.md tells how it works.
 */
#ifndef FRONTEND_FRONTEND_H
#define FRONTEND_FRONTEND_H

#include <stddef.h>

#include "proto/records/control.h"

/*
 * Serve until the supervisor says stop or is gone. `hello` is what it opened with; `fds` its
 * descriptors, in the order that control.h states, taken over.
 *
 * Returns the exit code of the process.
 */
int frontend_main(int control_fd, const struct control_message *hello, const int *fds,
                  size_t num_fds);

#endif
