#include "worker/prefix_cache.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum node_state { NODE_ABSENT, NODE_ANNOUNCED, NODE_READY };

struct prefix_node {
    uint64_t root, hash, number;
    int32_t parent; /* -1: the root */
    int32_t next_in_bucket;
    int32_t older_idle, newer_idle; /* neighbours in the list of idle pages */
    enum node_state state;
};

int prefix_cache_init(struct prefix_cache *cache, bool is_on, int32_t block_size,
                      int32_t num_groups, struct block_pool *pools, struct reserve *reserve)
{
    const size_t num = (size_t)pools[0].num_blocks;
    struct prefix_cache made = { .is_on = is_on,
                                 .block_size = block_size,
                                 .num_groups = num_groups,
                                 .num_buckets = 1,
                                 .pools = pools,
                                 .oldest_idle = -1,
                                 .newest_idle = -1,
                                 .hash_key = 0x9E3779B97F4A7C15u };
    while (made.num_buckets < pools[0].num_blocks)
        made.num_buckets *= 2;
    made.nodes = reserve_array(reserve, num, sizeof(*made.nodes));
    made.tokens = reserve_array(reserve, num * (size_t)block_size, sizeof(*made.tokens));
    made.buckets = reserve_array(reserve, (size_t)made.num_buckets, sizeof(*made.buckets));
    if (made.nodes == NULL || made.tokens == NULL || made.buckets == NULL)
        return -ENOMEM;
    for (int g = 1; g < num_groups; g++) {
        made.other_blocks[g] = reserve_array(reserve, num, sizeof(*made.other_blocks[g]));
        if (made.other_blocks[g] == NULL)
            return -ENOMEM;
    }
    memset(made.buckets, -1, (size_t)made.num_buckets * sizeof(*made.buckets));
    /* Clients choose the tokens: with a key that they do not know they cannot fill one bucket. */
    if (getrandom(&made.hash_key, sizeof(made.hash_key), GRND_NONBLOCK) < 0)
        made.hash_key ^= (uintptr_t)made.nodes;
    made.hash_key |= 1;
    *cache = made;
    return 0;
}

/* --- the table ---------------------------------------------------------------------------- */

static uint64_t hash_of(const struct prefix_cache *cache, uint64_t before, const int32_t *tokens)
{
    uint64_t h = before;
    for (int32_t i = 0; i < cache->block_size; i++) {
        h = (h ^ (uint32_t)tokens[i]) * cache->hash_key;
        h ^= h >> 32;
    }
    return h;
}

static uint64_t hash_before(const struct prefix_cache *cache, uint64_t root, int32_t parent)
{
    return parent >= 0 ? cache->nodes[parent].hash : root;
}

static int32_t *bucket_of(const struct prefix_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (uint64_t)(cache->num_buckets - 1)];
}

static int32_t *tokens_of(const struct prefix_cache *cache, int32_t node)
{
    return cache->tokens + (size_t)node * (size_t)cache->block_size;
}

static size_t page_bytes(const struct prefix_cache *cache)
{
    return (size_t)cache->block_size * sizeof(int32_t);
}

/* The child of `parent` with these tokens, -1: none. */
static int32_t find_child(const struct prefix_cache *cache, uint64_t root, int32_t parent,
                          const int32_t *tokens)
{
    const uint64_t hash = hash_of(cache, hash_before(cache, root, parent), tokens);
    int32_t at = *bucket_of(cache, hash);
    for (; at >= 0; at = cache->nodes[at].next_in_bucket) {
        const struct prefix_node *node = &cache->nodes[at];
        if (node->hash == hash && node->parent == parent && node->root == root &&
            memcmp(tokens_of(cache, at), tokens, page_bytes(cache)) == 0)
            break;
    }
    return at;
}

static void add_node(struct prefix_cache *cache, uint64_t root, int32_t parent,
                     const struct block_table *tables, int32_t page, const int32_t *tokens,
                     enum node_state state)
{
    const int32_t at = tables[0].ids[page];
    struct prefix_node *node = &cache->nodes[at];
    const uint64_t hash = hash_of(cache, hash_before(cache, root, parent), tokens);
    int32_t *bucket = bucket_of(cache, hash);
    *node = (struct prefix_node){ .root = root,
                                  .hash = hash,
                                  .number = cache->num_added++,
                                  .parent = parent,
                                  .next_in_bucket = *bucket,
                                  .state = state };
    *bucket = at;
    memcpy(tokens_of(cache, at), tokens, page_bytes(cache));
    for (int g = 1; g < cache->num_groups; g++)
        cache->other_blocks[g][at] = tables[g].ids[page];
}

static void remove_node(struct prefix_cache *cache, int32_t at)
{
    int32_t *link = bucket_of(cache, cache->nodes[at].hash);
    while (*link != at)
        link = &cache->nodes[*link].next_in_bucket;
    *link = cache->nodes[at].next_in_bucket;
    cache->nodes[at].state = NODE_ABSENT;
}

static int32_t block_of(const struct prefix_cache *cache, int32_t group, int32_t node)
{
    return group == 0 ? node : cache->other_blocks[group][node];
}

/* --- idle pages --------------------------------------------------------------------------- */

static void add_idle(struct prefix_cache *cache, int32_t at)
{
    struct prefix_node *node = &cache->nodes[at];
    node->older_idle = cache->newest_idle;
    node->newer_idle = -1;
    if (cache->newest_idle >= 0)
        cache->nodes[cache->newest_idle].newer_idle = at;
    else
        cache->oldest_idle = at;
    cache->newest_idle = at;
}

static void remove_idle(struct prefix_cache *cache, int32_t at)
{
    const struct prefix_node *node = &cache->nodes[at];
    if (node->older_idle >= 0)
        cache->nodes[node->older_idle].newer_idle = node->newer_idle;
    else
        cache->oldest_idle = node->newer_idle;
    if (node->newer_idle >= 0)
        cache->nodes[node->newer_idle].older_idle = node->older_idle;
    else
        cache->newest_idle = node->older_idle;
}

static void evict_oldest(struct prefix_cache *cache)
{
    const int32_t at = cache->oldest_idle;
    remove_idle(cache, at);
    remove_node(cache, at);
    for (int g = 0; g < cache->num_groups; g++)
        block_pool_forget(&cache->pools[g], block_of(cache, g, at));
    cache->num_evicted++;
}

void prefix_cache_make_room(struct prefix_cache *cache, int32_t num)
{
    while (cache->pools[0].num_free - cache->pools[0].num_idle < num) {
        assert(cache->oldest_idle >= 0);
        evict_oldest(cache);
    }
}

/* --- sequences ---------------------------------------------------------------------------- */

void prefix_cache_find(const struct prefix_cache *cache, uint64_t root, const int32_t *tokens,
                       int32_t max_pages, struct prefix_match *ret_match)
{
    struct prefix_match match = { .last = -1, .awaited = -1 };
    int32_t at = -1;
    for (int32_t page = 0; cache->is_on && page < max_pages; page++) {
        at = find_child(cache, root, at, tokens + (size_t)page * (size_t)cache->block_size);
        if (at < 0)
            break;
        if (cache->nodes[at].state == NODE_ANNOUNCED) {
            match.awaited = at;
            match.awaited_number = cache->nodes[at].number;
            continue;
        }
        assert(match.awaited < 0); /* pages are filled in order */
        match.num_pages++;
        match.last = at;
        match.num_idle += cache->pools[0].ref_counts[at] == 0;
    }
    *ret_match = match;
}

bool prefix_cache_is_awaited(const struct prefix_cache *cache, int32_t page, uint64_t number)
{
    return page >= 0 && cache->nodes[page].state == NODE_ANNOUNCED &&
           cache->nodes[page].number == number;
}

static void ref_page(struct prefix_cache *cache, int32_t at, struct block_table *tables,
                     int32_t page)
{
    if (cache->pools[0].ref_counts[at] == 0)
        remove_idle(cache, at);
    for (int g = 0; g < cache->num_groups; g++) {
        tables[g].ids[page] = block_of(cache, g, at);
        block_pool_ref(&cache->pools[g], tables[g].ids[page]);
    }
}

void prefix_cache_share(struct prefix_cache *cache, const struct prefix_match *match,
                        struct block_table *tables)
{
    int32_t at = match->last;
    for (int32_t page = match->num_pages - 1; page >= 0; page--) {
        ref_page(cache, at, tables, page);
        at = cache->nodes[at].parent;
    }
    for (int g = 0; g < cache->num_groups; g++)
        tables[g].num = match->num_pages;
}

void prefix_cache_announce(struct prefix_cache *cache, uint64_t root,
                           const struct block_table *tables, const int32_t *tokens, int32_t first,
                           int32_t end)
{
    for (int32_t page = first; cache->is_on && page < end; page++) {
        const int32_t parent = page > 0 ? tables[0].ids[page - 1] : -1;
        const int32_t *of_page = tokens + (size_t)page * (size_t)cache->block_size;
        if (find_child(cache, root, parent, of_page) >= 0)
            return;
        add_node(cache, root, parent, tables, page, of_page, NODE_ANNOUNCED);
    }
}

static void keep_page(struct prefix_cache *cache, const struct block_table *tables, int32_t page)
{
    cache->nodes[tables[0].ids[page]].state = NODE_READY;
    for (int g = 0; g < cache->num_groups; g++)
        block_pool_keep(&cache->pools[g], tables[g].ids[page]);
}

static void replace_page(struct prefix_cache *cache, struct block_table *tables, int32_t page,
                         int32_t at)
{
    for (int g = 0; g < cache->num_groups; g++)
        block_pool_unref(&cache->pools[g], tables[g].ids[page]);
    ref_page(cache, at, tables, page);
}

int32_t prefix_cache_commit(struct prefix_cache *cache, uint64_t root, struct block_table *tables,
                            const int32_t *tokens, int32_t first, int32_t end)
{
    for (int32_t page = first; cache->is_on && page < end; page++) {
        const int32_t own = tables[0].ids[page], parent = page > 0 ? tables[0].ids[page - 1] : -1;
        const int32_t *of_page = tokens + (size_t)page * (size_t)cache->block_size;
        const int32_t at =
            cache->nodes[own].state != NODE_ABSENT ? own : find_child(cache, root, parent, of_page);
        if (at >= 0 && at != own && cache->nodes[at].state == NODE_ANNOUNCED)
            return page;
        if (at >= 0 && at != own)
            replace_page(cache, tables, page, at);
        if (at < 0)
            add_node(cache, root, parent, tables, page, of_page, NODE_READY);
        if (at < 0 || at == own)
            keep_page(cache, tables, page);
    }
    return cache->is_on && end > first ? end : first;
}

void prefix_cache_drop_last(struct prefix_cache *cache, struct block_table *tables)
{
    const int32_t at = tables[0].ids[tables[0].num - 1];
    const enum node_state state = cache->nodes[at].state;
    for (int g = 0; g < cache->num_groups; g++)
        block_pool_unref(&cache->pools[g], tables[g].ids[--tables[g].num]);
    if (cache->pools[0].ref_counts[at] > 0)
        return;
    if (state == NODE_READY)
        add_idle(cache, at);
    else if (state == NODE_ANNOUNCED)
        remove_node(cache, at);
}
