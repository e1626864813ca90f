#include "worker/prefix_tree.h"

#include <assert.h>
#include <string.h>

/* --- the table ---------------------------------------------------------------------------- */

static uint64_t hash_of(const struct prefix_cache *cache, uint64_t root, int32_t parent,
                        const int32_t *tokens)
{
    uint64_t h = parent >= 0 ? cache->nodes[parent].hash : root;
    for (int32_t i = 0; i < cache->kv->block_size; i++) {
        h = (h ^ (uint32_t)tokens[i]) * cache->hash_key;
        h ^= h >> 32;
    }
    return h;
}

static int32_t *bucket_of(const struct prefix_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (uint64_t)(cache->num_buckets - 1)];
}

static int32_t *tokens_of(const struct prefix_cache *cache, int32_t node)
{
    return cache->tokens + (size_t)node * (size_t)cache->kv->block_size;
}

static size_t page_bytes(const struct prefix_cache *cache)
{
    return (size_t)cache->kv->block_size * sizeof(int32_t);
}

int32_t prefix_tree_find(const struct prefix_cache *cache, uint64_t root, int32_t parent,
                         const int32_t *tokens)
{
    const uint64_t hash = hash_of(cache, root, parent, tokens);
    int32_t at = *bucket_of(cache, hash);
    for (; at >= 0; at = cache->nodes[at].next_in_bucket) {
        const struct prefix_node *node = &cache->nodes[at];
        if (node->hash == hash && node->parent == parent && node->root == root &&
            memcmp(tokens_of(cache, at), tokens, page_bytes(cache)) == 0)
            break;
    }
    return at;
}

void prefix_tree_remove(struct prefix_cache *cache, int32_t at)
{
    struct prefix_node *node = &cache->nodes[at];
    int32_t *link = bucket_of(cache, node->hash);
    while (*link != at)
        link = &cache->nodes[*link].next_in_bucket;
    *link = node->next_in_bucket;
    if (node->parent >= 0)
        cache->nodes[node->parent].num_children--;
    node->state = NODE_ABSENT;
    cache->num_in_tree--;
    node->next_in_bucket = cache->free_node;
    cache->free_node = at;
}

void prefix_tree_prune(struct prefix_cache *cache, int32_t at)
{
    while (at >= 0) {
        const struct prefix_node *node = &cache->nodes[at];
        const int32_t parent = node->parent;
        if (node->state != NODE_READY || node->groups != 0 || node->num_children > 0 ||
            node->num_paths > 0)
            return;
        prefix_tree_remove(cache, at);
        at = parent;
    }
}

/* --- a node's blocks ---------------------------------------------------------------------- */

int32_t *prefix_tree_blocks(const struct prefix_cache *cache, int32_t node, int32_t g)
{
    const struct kv_groups *kv = cache->kv;
    return cache->blocks + (size_t)node * (size_t)kv->num_parts + kv->groups[g].first_part;
}

bool prefix_tree_has(const struct prefix_cache *cache, int32_t node, int32_t g)
{
    return (cache->nodes[node].groups >> g & 1) != 0;
}

bool prefix_tree_is_idle(const struct prefix_cache *cache, int32_t node, int32_t g)
{
    return cache->pool->ref_counts[*prefix_tree_blocks(cache, node, g)] == 0;
}

static void add_idle(struct prefix_cache *cache, int32_t node, int32_t g)
{
    const int32_t at = node * cache->kv->num_groups + g;
    cache->idle[at] = (struct prefix_idle){ .older = cache->newest_idle, .newer = -1 };
    if (cache->newest_idle >= 0)
        cache->idle[cache->newest_idle].newer = at;
    else
        cache->oldest_idle = at;
    cache->newest_idle = at;
}

static void remove_idle(struct prefix_cache *cache, int32_t node, int32_t g)
{
    const struct prefix_idle at = cache->idle[node * cache->kv->num_groups + g];
    if (at.older >= 0)
        cache->idle[at.older].newer = at.newer;
    else
        cache->oldest_idle = at.newer;
    if (at.newer >= 0)
        cache->idle[at.newer].older = at.older;
    else
        cache->newest_idle = at.older;
}

void prefix_tree_ref(struct prefix_cache *cache, int32_t node, int32_t g, struct block_table *table,
                     int32_t page)
{
    const int32_t *blocks = prefix_tree_blocks(cache, node, g);
    if (prefix_tree_is_idle(cache, node, g))
        remove_idle(cache, node, g);
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++) {
        block_table_ids(table, part)[page] = blocks[part];
        block_pool_ref(cache->pool, blocks[part]);
    }
}

void prefix_tree_unref(struct prefix_cache *cache, int32_t g, const struct block_table *table,
                       int32_t page)
{
    const int32_t first = block_table_ids(table, 0)[page], node = cache->nodes_of[first];
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++)
        block_pool_unref(cache->pool, block_table_ids(table, part)[page]);
    if (node >= 0 && cache->pool->ref_counts[first] == 0)
        add_idle(cache, node, g);
}

void prefix_tree_keep(struct prefix_cache *cache, int32_t node, int32_t g,
                      const struct block_table *table, int32_t page)
{
    int32_t *blocks = prefix_tree_blocks(cache, node, g);
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++) {
        blocks[part] = block_table_ids(table, part)[page];
        block_pool_keep(cache->pool, blocks[part]);
        cache->nodes_of[blocks[part]] = node;
    }
    cache->nodes[node].groups |= 1u << g;
}

static void forget_blocks(struct prefix_cache *cache, int32_t node, int32_t g)
{
    const int32_t *blocks = prefix_tree_blocks(cache, node, g);
    remove_idle(cache, node, g);
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++) {
        block_pool_forget(cache->pool, blocks[part]);
        cache->nodes_of[blocks[part]] = -1;
    }
    cache->nodes[node].groups &= ~(1u << g);
    cache->num_evicted++;
}

/* --- eviction ----------------------------------------------------------------------------- */

static void evict_oldest(struct prefix_cache *cache)
{
    const int32_t num_groups = cache->kv->num_groups;
    const int32_t node = cache->oldest_idle / num_groups, g = cache->oldest_idle % num_groups;
    const bool as_a_whole = cache->kv->groups[g].window == 0;
    for (int32_t h = 0; h < num_groups; h++)
        if (h == g || (as_a_whole && prefix_tree_has(cache, node, h)))
            forget_blocks(cache, node, h); /* who refers to one refers to that of `g`, too */
    prefix_tree_prune(cache, node);
}

void prefix_cache_make_room(struct prefix_cache *cache, int32_t num)
{
    while (cache->pool->num_free - cache->pool->num_idle < num) {
        assert(cache->oldest_idle >= 0);
        evict_oldest(cache);
    }
}

static int32_t take_node(struct prefix_cache *cache)
{
    if (cache->free_node < 0 && cache->num_taken < cache->num_nodes)
        return cache->num_taken++;
    while (cache->free_node < 0 && cache->oldest_idle >= 0)
        evict_oldest(cache);
    const int32_t at = cache->free_node;
    if (at >= 0)
        cache->free_node = cache->nodes[at].next_in_bucket;
    return at;
}

int32_t prefix_tree_add(struct prefix_cache *cache, uint64_t root, int32_t parent,
                        const int32_t *tokens, enum node_state state)
{
    const int32_t at = take_node(cache);
    if (at < 0)
        return -1;
    const uint64_t hash = hash_of(cache, root, parent, tokens);
    int32_t *bucket = bucket_of(cache, hash);
    cache->nodes[at] = (struct prefix_node){ .root = root,
                                             .hash = hash,
                                             .number = cache->num_added++,
                                             .parent = parent,
                                             .next_in_bucket = *bucket,
                                             .state = state };
    *bucket = at;
    cache->num_in_tree++;
    if (parent >= 0)
        cache->nodes[parent].num_children++;
    memcpy(tokens_of(cache, at), tokens, page_bytes(cache));
    return at;
}
