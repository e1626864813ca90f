/*
 * ranks.h - processes that are the ranks of one engine, for tests
 */
#ifndef TESTS_UNIT_SHM_RANKS_H
#define TESTS_UNIT_SHM_RANKS_H

#include "shm/comm.h"

/* Make the segments of an engine and map them all, each rank's own writable. */
void ranks_map(struct comm_geometry g, struct segment segments[][COMM_MAX_RANKS]);

/*
 * Fork one process per rank and let each run `body`; 0 is success. Returns when all ended: a bit
 * for each rank whose body returned another value, or that did not end by itself.
 */
unsigned ranks_run(struct comm_geometry g, int64_t timeout_us, int (*body)(struct comm *comm));

#endif
