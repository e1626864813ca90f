/*
 * attach.h - from the supervisor's ENGINE_LINK to an engine that the session can use
 */
#ifndef FRONTEND_SESSION_ATTACH_H
#define FRONTEND_SESSION_ATTACH_H

#include <stddef.h>

#include "frontend/session/session.h"
#include "proto/records/control.h"

/*
 * Map the segments that came with `link` and bring the engine up. The descriptors are used up,
 * also on failure.
 *
 * Returns 0; -EPROTO when segments or descriptors are not what the message says; -ENOMEM.
 */
int attach_engine(struct session *session, const struct control_message *link, const int *fds,
                  size_t num_fds, struct error *err);

#endif
