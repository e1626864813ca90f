/*
 * drain.h - the end of a frontend, in words to every client
 *
 * DRAIN: accept for --shutdown-grace more, then close the listeners and refuse new requests;
 * when the last one ends, say DRAINED. STOP: streams get an error event, the rest an error; the
 * process ends when all of it is sent, or half a second later.
 */
#ifndef FRONTEND_DRAIN_H
#define FRONTEND_DRAIN_H

#include <stdbool.h>

struct frontend;

void drain_begin(struct frontend *frontend);
void drain_stop(struct frontend *frontend);

/* After each turn of the loop; false: the process is to end. */
bool drain_continue(struct frontend *frontend);

#endif
