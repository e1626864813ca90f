/*
 * prefix_cache.h - full KV pages by the tokens that led to them, so that prompts share them
 *
 * A tree: a node is a page of a sequence; its path from the root spells the tokens from position 0
 * on. A node has the page's blocks in some or all KV groups: those of a group with a window may be
 * evicted alone. A path can be taken up to where every such group still has what the next row
 * reads (kv_groups.h). Children are found through one hash table over (parent, tokens); a hit
 * compares the tokens themselves, the hash only finds the bucket. Roots are 64-bit keys: sequences
 * with different roots share nothing.
 *
 *     ANNOUNCED   a running sequence is about to fill it: others wait instead of computing it too
 *     READY       filled, its tokens final; its blocks stay when nobody refers to them, until they
 *                 are evicted
 *
 * A sequence knows the node where its path ends (struct prefix_path), which therefore stays, and so
 * does every node before it, with blocks or without.
 *
 * What is evicted is a page's blocks in one group, the least recently used first. Whoever refers to
 * a page in a group without a window refers to all pages before it, and gives them back from the
 * last to the first. So in the list of what is idle, oldest first, such a page comes before its
 * parent: evicting it takes constant time and leaves no path with a hole. A node that lost it is of
 * no use, and goes as a whole. Where every group has a window a node stays without blocks while
 * paths lead through it.
 *
 * Threads: engine thread only. Nothing here allocates after init.
 * Source:  RadixAttention, arXiv:2312.07104, section 3.
 */
#ifndef WORKER_PREFIX_CACHE_H
#define WORKER_PREFIX_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/block_pool.h"
#include "worker/model/kv_groups.h"

struct prefix_node;
struct prefix_idle;

struct prefix_cache {
    bool is_on;
    const struct kv_groups *kv;
    struct block_pool *pool;
    int32_t num_nodes, num_taken; /* nodes [num_taken, num_nodes) were never used */
    int32_t num_in_tree;
    int32_t num_buckets;
    int32_t free_node;                /* the first of those given back, -1: none */
    int32_t oldest_idle, newest_idle; /* -1: none */
    struct prefix_node *nodes;        /* [num_nodes] */
    int32_t *tokens;                  /* [num_nodes][block_size] */
    int32_t *blocks;                  /* [num_nodes][num_parts] */
    struct prefix_idle *idle;         /* [num_nodes][num_groups] */
    int32_t *nodes_of;                /* [blocks of the pool]: the node that has it, -1: none */
    int32_t *buckets;                 /* [num_buckets] first node, -1: none */
    uint64_t hash_key, num_added;
    int64_t num_evicted;
};

/* A sequence's place in the tree. Its address must not change while it is there. */
struct prefix_path {
    int32_t num, last; /* leading pages that are in the tree, and the last one's node; -1: none */
    int32_t announced; /* the deepest node that it has announced, -1: none */
};

static const struct prefix_path prefix_path_none = { .last = -1, .announced = -1 };

/* What of a sequence can be taken from the tree. */
struct prefix_match {
    int32_t num_pages, last; /* from the first on; the last one's node, -1: none */
    int32_t num_idle;        /* blocks in what would be taken that nobody else refers to */
    int32_t awaited;         /* the last ANNOUNCED page of what follows, -1: none */
    uint64_t awaited_number; /* tells it from a later page of the same node */
};

/* `kv` and `pool` stay the caller's. A cache that is off finds and keeps nothing. `max_pages`: of
 * one sequence. Returns 0 or -ENOMEM. */
int prefix_cache_init(struct prefix_cache *cache, bool is_on, const struct kv_groups *kv,
                      int32_t max_pages, struct block_pool *pool, struct reserve *reserve);

/* Look for at most `max_pages` pages of `tokens` ([max_pages * block_size]). */
void prefix_cache_find(const struct prefix_cache *cache, uint64_t root, const int32_t *tokens,
                       int32_t max_pages, struct prefix_match *ret_match);

/* Is the page that the match awaited still about to be filled? */
bool prefix_cache_is_awaited(const struct prefix_cache *cache, int32_t node, uint64_t number);

/* Put what the next row reads of the pages found into the empty tables ([num_groups]), with a
 * reference to each block. */
void prefix_cache_share(struct prefix_cache *cache, const struct prefix_match *match,
                        struct block_table *tables, struct prefix_path *path);

/* The empty `path` becomes the first `num_pages` of `from`, or all of it if that is less. */
void prefix_cache_fork(struct prefix_cache *cache, const struct prefix_path *from,
                       int32_t num_pages, struct prefix_path *path);

/* The pages behind the path, up to `end`, will be filled with `tokens`. */
void prefix_cache_announce(struct prefix_cache *cache, uint64_t root, struct prefix_path *path,
                           const int32_t *tokens, int32_t end);

/*
 * The pages behind the path, up to `end`, are filled and their tokens final. Where somebody else's
 * blocks are there already the tables take those over, and where some are missing the node gets the
 * tables'. The path ends before `end` while somebody else is filling one of the pages, or when the
 * tree is full.
 */
void prefix_cache_commit(struct prefix_cache *cache, uint64_t root, struct prefix_path *path,
                         struct block_table *tables, const int32_t *tokens, int32_t end);

/* Drop the references to group `g`'s pages before `first`. */
void prefix_cache_give_back(struct prefix_cache *cache, struct block_table *tables, int32_t g,
                            int32_t first);

/* Empty the tables and the path. */
void prefix_cache_drop(struct prefix_cache *cache, struct block_table *tables,
                       struct prefix_path *path);

/* Evict what is idle until `num` blocks can be allocated; the caller saw that they are free. */
void prefix_cache_make_room(struct prefix_cache *cache, int32_t num);

#endif
