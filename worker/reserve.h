/*
 * reserve.h - memory taken once at start, backed when it is touched
 *
 * Tables of the worker are sized for the worst case (every seat at full length) but mostly stay
 * far below it. Each array is its own private mapping without swap reservation: untouched pages
 * cost nothing, and touching one later is a page fault, not an allocation.
 *
 * One thread. All memory goes back with reserve_finish().
 */
#ifndef WORKER_RESERVE_H
#define WORKER_RESERVE_H

#include <stddef.h>

enum { RESERVE_MAX_ARRAYS = 64 };

struct reserve {
    struct {
        void *base;
        size_t size;
    } arrays[RESERVE_MAX_ARRAYS];
    int num_arrays;
    size_t num_bytes; /* of address space */
};

/* A zeroed, page-aligned array, or NULL: num * size overflows, no address space, or
 * RESERVE_MAX_ARRAYS were taken. An empty reserve is a zeroed struct. */
void *reserve_array(struct reserve *reserve, size_t num, size_t size);

void reserve_finish(struct reserve *reserve); /* accepts a zeroed one */

#endif
