/*
 * link_pair.h - two joined ring ends in one process, for tests
 */
#ifndef TESTS_UNIT_SHM_LINK_PAIR_H
#define TESTS_UNIT_SHM_LINK_PAIR_H

#include "shm/ring.h"

struct link_pair {
    struct ring_end a, b;                  /* a produces with geometry `g`, b likewise */
    struct segment a_writable, b_writable; /* the same mappings, to spoil */
};

/* Fails the test when memory is short. */
void link_pair_open(struct link_pair *pair, struct ring_geometry g);
void link_pair_close(struct link_pair *pair);

#endif
