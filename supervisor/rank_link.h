/*
 * rank_link.h - joins the ranks of one engine: a segment each, which all others read
 */
#ifndef SUPERVISOR_RANK_LINK_H
#define SUPERVISOR_RANK_LINK_H

#include "supervisor/child.h"

/* Make the segments of the leader's epoch and hand them to all ranks, which have been greeted.
 * Returns 0 or a negative errno with a sentence. */
int rank_link_join(struct child *leader, struct child followers[], uint32_t num_followers,
                   struct error *err);

#endif
