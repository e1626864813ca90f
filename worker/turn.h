/*
 * turn.h - whose step it is: everybody's, or that of one request that ended engines before
 */
#ifndef WORKER_TURN_H
#define WORKER_TURN_H

#include "worker/scheduler.h"

/* The next turn: after everybody else's a suspect's, one after the other. */
void turn_choose(struct scheduler *s);

/* May the request take part in this step? */
bool turn_is_of(const struct scheduler *s, const struct request *request);

#endif
