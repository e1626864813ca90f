/*
 * supervisor.h - starts the processes, watches them, restarts what dies, drains, ends
 *
 * One thread, one poll loop. It holds no model, no client's bytes and maps no ring: a crash of
 * a child cannot take it along. Listening sockets are opened first, so that a port in use is
 * known before a model is loaded.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include "proto/records/control.h"
#include "proto/records/settings.h"

/*
 * Run until the end. `seat` is CONTROL_ROLE_FRONTEND for a server, or CONTROL_ROLE_GENERATE
 * for a command that sits in frontend 0's place and whose end is the end of all.
 *
 * Returns the exit code of the program (base/error.h); failures are printed here, once.
 */
int supervisor_run(const struct option_set *set, const struct settings *settings,
                   enum control_role seat);

#endif
