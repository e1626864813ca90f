/*
 * prefix_rig.h - the prefix tree alone, for tests: a pool, KV groups, and sequences that hold pages
 *
 * One rig at a time.
 */
#ifndef TESTS_UNIT_WORKER_PREFIX_RIG_H
#define TESTS_UNIT_WORKER_PREFIX_RIG_H

#include "worker/prefix_cache.h"

enum {
    PREFIX_BLOCK = 4,
    PREFIX_NUM_BLOCKS = 48,
    PREFIX_MAX_PAGES = 8,
    PREFIX_MAX_PARTS = 3,
};

struct prefix_rig {
    struct reserve reserve;
    struct kv_groups kv;
    struct block_pool pool;
    struct prefix_cache cache;
};
extern struct prefix_rig prefix_rig;

/* A sequence. */
struct prefix_owner {
    int32_t ids[PREFIX_MAX_PARTS][PREFIX_MAX_PAGES];
    struct block_table tables[KV_MAX_GROUPS];
    int32_t tokens[PREFIX_MAX_PAGES * PREFIX_BLOCK];
    struct prefix_path path;
    uint64_t root;
};

/* Two groups, the second one of two parts; windows of 0 are none. */
void prefix_rig_begin_windows(bool is_on, int32_t window_a, int32_t window_b);

/* One group of one part, as Llama. */
void prefix_rig_begin(bool is_on);

/* With tokens 0, 1, 2 ... */
void prefix_rig_init(struct prefix_owner *o, uint64_t root);

struct prefix_match prefix_rig_find(const struct prefix_owner *o, int32_t max_pages);
void prefix_rig_add(struct prefix_owner *o, int32_t num);

/* Take what is found, and blocks for the rest; returns the number of pages found. */
int32_t prefix_rig_take(struct prefix_owner *o, int32_t num_pages);

void prefix_rig_announce(struct prefix_owner *o);
int32_t prefix_rig_commit(struct prefix_owner *o, int32_t end);

/* The windows move on to the row at the beginning of `page`. */
void prefix_rig_move_on(struct prefix_owner *o, int32_t page);
void prefix_rig_drop(struct prefix_owner *o);

/* A sequence came, filled its pages, and went; of its tokens one may differ. */
void prefix_rig_leave(uint64_t root, int32_t differs_at, int32_t num_pages);

#endif
