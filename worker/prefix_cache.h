/*
 * prefix_cache.h - full KV blocks by the tokens that led to them, so that prompts share them
 *
 * A tree: a node is a page, that is one full block in every KV group; its path from the root
 * spells the tokens of a sequence from position 0 on. A node has the number of its block in
 * group 0, so there are as many nodes as blocks and nothing is allocated. Children are found
 * through one hash table over (parent, tokens); a hit compares the tokens themselves, the hash
 * only finds the bucket. Roots are 64-bit keys: sequences with different roots share nothing.
 *
 *     ANNOUNCED   a running sequence is about to fill it: others wait instead of computing it too
 *     READY       filled, its tokens final; stays when nobody refers to it, until it is evicted
 *
 * Whoever refers to a page refers to all pages before it, and gives them back from the last to
 * the first. So in the list of idle pages, oldest first, a page comes before its parent: the head
 * is always a leaf, and evicting the least recently used leaf takes constant time.
 *
 * Threads: engine thread only. Nothing here allocates after init.
 * Source:  RadixAttention, arXiv:2312.07104, section 3.
 */
#ifndef WORKER_PREFIX_CACHE_H
#define WORKER_PREFIX_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/block_pool.h"

struct prefix_node;

struct prefix_cache {
    bool is_on;
    int32_t block_size, num_groups, num_buckets;
    struct block_pool *pools;                /* [num_groups] */
    struct prefix_node *nodes;               /* [num_blocks] by block of group 0 */
    int32_t *tokens;                         /* [num_blocks][block_size] */
    int32_t *other_blocks[BLOCK_MAX_GROUPS]; /* [num_blocks] of groups 1 on */
    int32_t *buckets;                        /* [num_buckets] first node, -1: none */
    int32_t oldest_idle, newest_idle;        /* -1: none */
    uint64_t hash_key, num_added;
    int64_t num_evicted;
};

/* What of a sequence is in the tree. */
struct prefix_match {
    int32_t num_pages, last; /* READY from the first on; the last one's node, -1: none */
    int32_t num_idle;        /* of them: nobody else refers to them */
    int32_t awaited;         /* the last ANNOUNCED page of what follows, -1: none */
    uint64_t awaited_number; /* tells it from a later page of the same block */
};

/* `pools` stay the caller's. A cache that is off finds and keeps nothing. Returns 0 or -ENOMEM. */
int prefix_cache_init(struct prefix_cache *cache, bool is_on, int32_t block_size,
                      int32_t num_groups, struct block_pool *pools, struct reserve *reserve);

/* Look for at most `max_pages` pages of `tokens` ([max_pages * block_size]). */
void prefix_cache_find(const struct prefix_cache *cache, uint64_t root, const int32_t *tokens,
                       int32_t max_pages, struct prefix_match *ret_match);

/* Is the page that the match awaited still about to be filled? */
bool prefix_cache_is_awaited(const struct prefix_cache *cache, int32_t page, uint64_t number);

/* Put the pages found into the empty tables, with a reference to each. */
void prefix_cache_share(struct prefix_cache *cache, const struct prefix_match *match,
                        struct block_table *tables);

/* The caller's pages [first, end) will be filled with `tokens`; those before are in the tree. */
void prefix_cache_announce(struct prefix_cache *cache, uint64_t root,
                           const struct block_table *tables, const int32_t *tokens, int32_t first,
                           int32_t end);

/*
 * The caller's pages [first, end) are filled and their tokens final; those before are in the
 * tree. Where somebody else's page is there already, the tables take that one over. Returns the
 * number of leading pages that are in the tree: less than `end` while somebody else is filling
 * one of them.
 */
int32_t prefix_cache_commit(struct prefix_cache *cache, uint64_t root, struct block_table *tables,
                            const int32_t *tokens, int32_t first, int32_t end);

/* Take the last page off the tables and drop the reference to it. */
void prefix_cache_drop_last(struct prefix_cache *cache, struct block_table *tables);

/* Evict idle pages until `num` blocks of each group can be allocated; the caller saw that they
 * are free. */
void prefix_cache_make_room(struct prefix_cache *cache, int32_t num);

#endif
