/*
 * hangup.h - learn at once that an HTTP/1 client has gone while its request is being handled
 *
 * libh2o does not look at an HTTP/1 socket between a request and its answer. So each such
 * socket also stands in a second epoll instance, for hang-up alone, whose own descriptor is
 * watched by the loop. A client that shuts down its sending side counts as gone: until
 * something is written that cannot be told from a close.
 */
#ifndef FRONTEND_HANGUP_H
#define FRONTEND_HANGUP_H

#include <stdbool.h>

#include "frontend/loop.h"

struct hangup_watch;

int hangup_create(struct loop *loop, void (*gone)(void *request), struct hangup_watch **ret_watch);

/* `fd` is watched for one event; false when the kernel refuses. */
bool hangup_add(struct hangup_watch *watch, int fd, void *request);
void hangup_remove(struct hangup_watch *watch, int fd);

#endif
