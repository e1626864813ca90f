/*
 * side.h - one thread beside the loop, for work that would make the loop stand still
 *
 * A job's `run` is called on the side thread, one after the other in the order given; then its
 * `done` in the loop. A job touches only what it owns.
 */
#ifndef FRONTEND_SIDE_H
#define FRONTEND_SIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "frontend/loop.h"

struct side;

struct side_job {
    void (*run)(struct side_job *job);
    void (*done)(struct side_job *job);
    size_t bytes; /* what it holds in memory, for the limit */
    struct side_job *next;
};

int side_create(struct loop *loop, size_t max_bytes, struct side **ret_side);

/* False when the jobs under way hold `max_bytes` already: nothing was taken. */
bool side_submit(struct side *side, struct side_job *job);

#endif
