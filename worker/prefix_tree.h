/*
 * prefix_tree.h - the nodes of the prefix cache: their place in the tree, their blocks, what is
 * idle
 *
 * Private to prefix_cache.c. A node's blocks in one group live and die together: `idle` lists those
 * that nobody refers to.
 */
#ifndef WORKER_PREFIX_TREE_H
#define WORKER_PREFIX_TREE_H

#include "worker/prefix_cache.h"

enum node_state { NODE_ABSENT, NODE_ANNOUNCED, NODE_READY };

struct prefix_node {
    uint64_t root, hash, number;
    const struct prefix_path *owner; /* who has announced it */
    int32_t parent;                  /* -1: the root */
    int32_t next_in_bucket;          /* or of the nodes given back */
    int32_t num_children, num_paths; /* paths: that end here */
    enum node_state state;
    uint32_t groups; /* a bit for each whose blocks are there */
};

/* A node's blocks in one group, in the list of what nobody refers to. */
struct prefix_idle {
    int32_t older, newer; /* index: node * num_groups + group; -1: none */
};

/* The child of `parent` (-1: the root) with these tokens, -1: none. */
int32_t prefix_tree_find(const struct prefix_cache *cache, uint64_t root, int32_t parent,
                         const int32_t *tokens);

/* A child of `parent` without blocks; evicts what is idle if need be. -1 when the tree is full. */
int32_t prefix_tree_add(struct prefix_cache *cache, uint64_t root, int32_t parent,
                        const int32_t *tokens, enum node_state state);

void prefix_tree_remove(struct prefix_cache *cache, int32_t node);

/* The node (-1: none) goes if it has no blocks and nothing leads through it, and then those before
 * it of which that is true. */
void prefix_tree_prune(struct prefix_cache *cache, int32_t node);

/* Of group `g`, [its parts]. */
int32_t *prefix_tree_blocks(const struct prefix_cache *cache, int32_t node, int32_t g);
bool prefix_tree_has(const struct prefix_cache *cache, int32_t node, int32_t g);
bool prefix_tree_is_idle(const struct prefix_cache *cache, int32_t node, int32_t g);

/* The table's page becomes the node's blocks, with a reference to each. */
void prefix_tree_ref(struct prefix_cache *cache, int32_t node, int32_t g, struct block_table *table,
                     int32_t page);

/* Drop the references of the table's page, of which a node may be the owner. */
void prefix_tree_unref(struct prefix_cache *cache, int32_t g, const struct block_table *table,
                       int32_t page);

/* The node gets the blocks of the table's page. */
void prefix_tree_keep(struct prefix_cache *cache, int32_t node, int32_t g,
                      const struct block_table *table, int32_t page);

#endif
