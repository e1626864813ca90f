/*
 * snapshot.h - the counters of all processes, summed, as one table
 *
 * From the status pages: own, supervisor's (which keeps the counters of those that ended),
 * other frontends', engines'.
 */
#ifndef FRONTEND_SNAPSHOT_H
#define FRONTEND_SNAPSHOT_H

#include <stdint.h>

#include "proto/records/stats.h"
#include "shm/status.h"

struct frontend;

struct snapshot {
    uint64_t words[STATUS_WORDS];
};

void snapshot_take(const struct frontend *frontend, struct snapshot *ret_snapshot);

/* A counter's or gauge's value; a histogram's first word is snapshot_bucket(.., 0). */
uint64_t snapshot_value(const struct snapshot *snapshot, enum stat_id stat);
uint64_t snapshot_bucket(const struct snapshot *snapshot, enum stat_id stat, int32_t bucket);
uint64_t snapshot_sum(const struct snapshot *snapshot, enum stat_id stat);
uint64_t snapshot_count(const struct snapshot *snapshot, enum stat_id stat);

/* The value below which `fraction` of a histogram lies, by straight lines within buckets; in
 * the unit of the bounds; 0 when empty. */
double snapshot_quantile(const struct snapshot *snapshot, enum stat_id stat, double fraction);

#endif
