/*
 * loop.h - the frontend's event loop: descriptors, work for the next turn, a tick each second
 *
 * One thread. All callbacks run inside loop_turn(); sending on a connection is allowed in
 * callbacks only.
 */
#ifndef FRONTEND_LOOP_H
#define FRONTEND_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_watch;

typedef void (*loop_callback)(void *data);

int loop_create(struct loop **ret_loop);

/*
 * Call back whenever `fd` is readable; the callback reads it itself. The loop makes the
 * descriptor non-blocking and owns it from here on.
 */
int loop_watch(struct loop *loop, int fd, loop_callback callback, void *data,
               struct loop_watch **ret_watch);
void loop_unwatch(struct loop_watch *watch); /* closes the descriptor; NULL is fine */

/* Call back once in this or the next turn. A second call before it ran does nothing. */
struct loop_deferred;
int loop_deferred_create(struct loop *loop, loop_callback callback, void *data,
                         struct loop_deferred **ret_deferred);
void loop_defer(struct loop_deferred *deferred);

/* Call back about once a second. */
int loop_every_second(struct loop *loop, loop_callback callback, void *data);

/* Wait for at most `max_wait_ms`, then run what is due. */
void loop_turn(struct loop *loop, int32_t max_wait_ms);

#endif
