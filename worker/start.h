/*
 * start.h - which of those that wait or were preempted begin to run, and from which blocks
 */
#ifndef WORKER_START_H
#define WORKER_START_H

#include "worker/scheduler.h"

/* Start in order of rank, what was preempted before what waits, until something has to wait. */
void start_all(struct scheduler *s);

#endif
