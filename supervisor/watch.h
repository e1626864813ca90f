/*
 * watch.h - does a process that lives still work?
 *
 * A live process proves nothing: one that waits for work beats on its status page, one that works
 * finishes steps, one that loads gets on with it. Judged by the page alone; nothing is asked of
 * the process.
 */
#ifndef SUPERVISOR_WATCH_H
#define SUPERVISOR_WATCH_H

#include "supervisor/child.h"

/*
 * True when it should be ended: no beat for 5 s; a step that takes longer than `stall_us` and 20
 * times what was expected of it; or, before it is ready, no progress for a minute (and a second
 * for each GiB to load), or ten once all is loaded and it warms up.
 */
bool watch_hangs(struct child *child, int64_t stall_us, int64_t now_us);

/* The machine slept, so everybody gets a fresh start. */
void watch_rearm(struct child *child, int64_t now_us);

#endif
