/*
 * listener.h - the listening sockets, opened before anything else is done
 */
#ifndef SUPERVISOR_LISTENER_H
#define SUPERVISOR_LISTENER_H

#include <stdint.h>

#include "base/error.h"

/*
 * Listen on every address that `host` names, at `port`.
 *
 * ret_fds : [max], close-on-exec, non-blocking
 *
 * Returns how many; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, ... with a sentence that names the
 * address.
 */
int listener_open(const char *host, int port, int *ret_fds, int max, struct error *err);

#endif
