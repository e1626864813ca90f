#include "worker/prefix_cache.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

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

static uint64_t make_key(const struct prefix_cache *cache)
{
    uint64_t key = 0x9E3779B97F4A7C15u;
    /* Clients choose the tokens: with a key that they do not know they cannot fill one bucket. */
    if (getrandom(&key, sizeof(key), GRND_NONBLOCK) < 0)
        key ^= (uintptr_t)cache->nodes;
    return key | 1;
}

/* A node for each block would do where some group keeps all pages; else paths of running sequences
 * go through pages without blocks. */
static int32_t count_nodes(const struct kv_groups *kv, int32_t max_pages, int32_t num_blocks)
{
    const int64_t num = num_blocks + (kv_forgets(kv) ? 4 * (int64_t)max_pages + num_blocks : 0);
    return num < INT32_MAX / KV_MAX_PARTS ? (int32_t)num : INT32_MAX / KV_MAX_PARTS;
}

int prefix_cache_init(struct prefix_cache *cache, bool is_on, const struct kv_groups *kv,
                      int32_t max_pages, struct block_pool *pool, struct reserve *reserve)
{
    struct prefix_cache made = { .is_on = is_on,
                                 .kv = kv,
                                 .pool = pool,
                                 .num_nodes = count_nodes(kv, max_pages, pool->num_blocks),
                                 .num_buckets = 1,
                                 .free_node = -1,
                                 .oldest_idle = -1,
                                 .newest_idle = -1 };
    const size_t num = (size_t)made.num_nodes;
    while (made.num_buckets < made.num_nodes)
        made.num_buckets *= 2;
    made.nodes = reserve_array(reserve, num, sizeof(*made.nodes));
    made.tokens = reserve_array(reserve, num * (size_t)kv->block_size, sizeof(*made.tokens));
    made.blocks = reserve_array(reserve, num * (size_t)kv->num_parts, sizeof(*made.blocks));
    made.idle = reserve_array(reserve, num * (size_t)kv->num_groups, sizeof(*made.idle));
    made.nodes_of = reserve_array(reserve, (size_t)pool->num_blocks, sizeof(*made.nodes_of));
    made.buckets = reserve_array(reserve, (size_t)made.num_buckets, sizeof(*made.buckets));
    if (made.nodes == NULL || made.tokens == NULL || made.blocks == NULL || made.idle == NULL ||
        made.nodes_of == NULL || made.buckets == NULL)
        return -ENOMEM;
    memset(made.nodes_of, -1, (size_t)pool->num_blocks * sizeof(*made.nodes_of));
    memset(made.buckets, -1, (size_t)made.num_buckets * sizeof(*made.buckets));
    made.hash_key = make_key(&made);
    *cache = made;
    return 0;
}

/* --- the table ---------------------------------------------------------------------------- */

static const int32_t *page_tokens(const struct prefix_cache *cache, const int32_t *tokens,
                                  int32_t page)
{
    return tokens + (size_t)page * (size_t)cache->kv->block_size;
}

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

/* The child of `parent` with these tokens, -1: none. */
static int32_t find_child(const struct prefix_cache *cache, uint64_t root, int32_t parent,
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

static void remove_node(struct prefix_cache *cache, int32_t at)
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

/* A node without blocks goes when nothing leads through it. */
static void prune(struct prefix_cache *cache, int32_t at)
{
    while (at >= 0) {
        const struct prefix_node *node = &cache->nodes[at];
        const int32_t parent = node->parent;
        if (node->state != NODE_READY || node->groups != 0 || node->num_children > 0 ||
            node->num_paths > 0)
            return;
        remove_node(cache, at);
        at = parent;
    }
}

/* --- a node's blocks ---------------------------------------------------------------------- */

/* Of group `g`, [its parts]. */
static int32_t *blocks_of(const struct prefix_cache *cache, int32_t node, int32_t g)
{
    const struct kv_groups *kv = cache->kv;
    return cache->blocks + (size_t)node * (size_t)kv->num_parts + kv->groups[g].first_part;
}

static bool has_group(const struct prefix_cache *cache, int32_t node, int32_t g)
{
    return (cache->nodes[node].groups >> g & 1) != 0;
}

static bool is_idle(const struct prefix_cache *cache, int32_t node, int32_t g)
{
    return cache->pool->ref_counts[*blocks_of(cache, node, g)] == 0;
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

/* The table's page becomes the node's blocks, with a reference to each. */
static void ref_blocks(struct prefix_cache *cache, int32_t node, int32_t g,
                       struct block_table *table, int32_t page)
{
    const int32_t *blocks = blocks_of(cache, node, g);
    if (is_idle(cache, node, g))
        remove_idle(cache, node, g);
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++) {
        block_table_ids(table, part)[page] = blocks[part];
        block_pool_ref(cache->pool, blocks[part]);
    }
}

static void unref_blocks(struct prefix_cache *cache, int32_t g, const struct block_table *table,
                         int32_t page)
{
    const int32_t first = block_table_ids(table, 0)[page], node = cache->nodes_of[first];
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++)
        block_pool_unref(cache->pool, block_table_ids(table, part)[page]);
    if (node >= 0 && cache->pool->ref_counts[first] == 0)
        add_idle(cache, node, g);
}

/* The node gets the table's blocks. */
static void keep_blocks(struct prefix_cache *cache, int32_t node, int32_t g,
                        const struct block_table *table, int32_t page)
{
    int32_t *blocks = blocks_of(cache, node, g);
    for (int32_t part = 0; part < cache->kv->groups[g].num_parts; part++) {
        blocks[part] = block_table_ids(table, part)[page];
        block_pool_keep(cache->pool, blocks[part]);
        cache->nodes_of[blocks[part]] = node;
    }
    cache->nodes[node].groups |= 1u << g;
}

static void forget_blocks(struct prefix_cache *cache, int32_t node, int32_t g)
{
    const int32_t *blocks = blocks_of(cache, node, g);
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
        if (h == g || (as_a_whole && has_group(cache, node, h)))
            forget_blocks(cache, node, h); /* who refers to one refers to that of `g`, too */
    prune(cache, node);
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

/* -1 when the tree is full. */
static int32_t add_node(struct prefix_cache *cache, uint64_t root, int32_t parent,
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

/* --- finding ------------------------------------------------------------------------------ */

/* Pages [first, num_pages) of group `g` are what the row behind them reads. */
static int32_t first_wanted(const struct prefix_cache *cache, int32_t g, int32_t num_pages)
{
    return kv_first_page(cache->kv, g, num_pages * cache->kv->block_size);
}

/* runs: for each group, how many pages up to this node's have their blocks in a row. */
static bool count_runs(const struct prefix_cache *cache, int32_t node, int32_t num_pages,
                       int32_t *runs)
{
    bool can_end = true;
    for (int32_t g = 0; g < cache->kv->num_groups; g++) {
        runs[g] = has_group(cache, node, g) ? runs[g] + 1 : 0;
        can_end = can_end && runs[g] >= num_pages - first_wanted(cache, g, num_pages);
    }
    return can_end;
}

static int32_t count_idle(const struct prefix_cache *cache, const struct prefix_match *match)
{
    int32_t at = match->last, num = 0;
    for (int32_t page = match->num_pages - 1; page >= 0; page--) {
        for (int32_t g = 0; g < cache->kv->num_groups; g++)
            if (page >= first_wanted(cache, g, match->num_pages) && is_idle(cache, at, g))
                num += cache->kv->groups[g].num_parts;
        at = cache->nodes[at].parent;
    }
    return num;
}

void prefix_cache_find(const struct prefix_cache *cache, uint64_t root, const int32_t *tokens,
                       int32_t max_pages, struct prefix_match *ret_match)
{
    struct prefix_match match = { .last = -1, .awaited = -1 };
    int32_t runs[KV_MAX_GROUPS] = { 0 }, at = -1;
    for (int32_t page = 0; cache->is_on && page < max_pages; page++) {
        at = find_child(cache, root, at, page_tokens(cache, tokens, page));
        if (at < 0)
            break;
        if (cache->nodes[at].state == NODE_ANNOUNCED) {
            match.awaited = at;
            match.awaited_number = cache->nodes[at].number;
            continue;
        }
        assert(match.awaited < 0); /* pages are filled in order */
        if (count_runs(cache, at, page + 1, runs)) {
            match.num_pages = page + 1;
            match.last = at;
        }
    }
    match.num_idle = count_idle(cache, &match);
    *ret_match = match;
}

bool prefix_cache_is_awaited(const struct prefix_cache *cache, int32_t node, uint64_t number)
{
    return node >= 0 && cache->nodes[node].state == NODE_ANNOUNCED &&
           cache->nodes[node].number == number;
}

/* --- sequences ---------------------------------------------------------------------------- */

/* The path ends at another node, or at none. */
static void move_path(struct prefix_cache *cache, struct prefix_path *path, int32_t num,
                      int32_t last)
{
    const int32_t before = path->last;
    if (last >= 0)
        cache->nodes[last].num_paths++;
    if (before >= 0)
        cache->nodes[before].num_paths--;
    path->num = num;
    path->last = last;
    prune(cache, before);
}

void prefix_cache_share(struct prefix_cache *cache, const struct prefix_match *match,
                        struct block_table *tables, struct prefix_path *path)
{
    const int32_t num = match->num_pages, num_groups = cache->kv->num_groups;
    for (int32_t g = 0; g < num_groups; g++) {
        tables[g].first = first_wanted(cache, g, num);
        tables[g].num = num;
    }
    int32_t at = match->last;
    for (int32_t page = num - 1; page >= 0; page--) {
        for (int32_t g = 0; g < num_groups; g++)
            if (page >= tables[g].first)
                ref_blocks(cache, at, g, &tables[g], page);
        at = cache->nodes[at].parent;
    }
    move_path(cache, path, num, match->last);
}

void prefix_cache_fork(struct prefix_cache *cache, const struct prefix_path *from,
                       int32_t num_pages, struct prefix_path *path)
{
    int32_t num = from->num, at = from->last;
    for (; num > num_pages; num--)
        at = cache->nodes[at].parent;
    move_path(cache, path, num, at);
}

void prefix_cache_announce(struct prefix_cache *cache, uint64_t root, struct prefix_path *path,
                           const int32_t *tokens, int32_t end)
{
    int32_t parent = path->last;
    for (int32_t page = path->num; cache->is_on && page < end; page++) {
        const int32_t *of_page = page_tokens(cache, tokens, page);
        if (find_child(cache, root, parent, of_page) >= 0)
            return;
        const int32_t at = add_node(cache, root, parent, of_page, NODE_ANNOUNCED);
        if (at < 0)
            return;
        cache->nodes[at].owner = path;
        path->announced = parent = at;
    }
}

static void forget_announced(struct prefix_cache *cache, struct prefix_path *path)
{
    while (path->announced >= 0 && cache->nodes[path->announced].state == NODE_ANNOUNCED) {
        const int32_t at = path->announced;
        path->announced = cache->nodes[at].parent;
        remove_node(cache, at);
    }
    path->announced = -1;
}

static bool has_page(const struct block_table *table, int32_t page)
{
    return page >= table->first && page < table->num;
}

static bool has_any(const struct prefix_cache *cache, const struct block_table *tables,
                    int32_t page)
{
    for (int32_t g = 0; g < cache->kv->num_groups; g++)
        if (has_page(&tables[g], page))
            return true;
    return false;
}

/* The node of a page that the sequence has filled; -1 when it is another's, or cannot be. */
static int32_t find_filled(struct prefix_cache *cache, uint64_t root,
                           const struct prefix_path *path, const struct block_table *tables,
                           const int32_t *tokens)
{
    const int32_t at = find_child(cache, root, path->last, tokens);
    if (at < 0 && !has_any(cache, tables, path->num)) /* too late */
        return -1;
    if (at < 0)
        return add_node(cache, root, path->last, tokens, NODE_READY);
    if (cache->nodes[at].state == NODE_ANNOUNCED && cache->nodes[at].owner != path)
        return -1;
    cache->nodes[at].state = NODE_READY;
    return at;
}

/* What the node has, the table takes, and the other way round. */
static void exchange(struct prefix_cache *cache, int32_t node, int32_t g, struct block_table *table,
                     int32_t page)
{
    if (!has_page(table, page))
        return;
    if (!has_group(cache, node, g)) {
        keep_blocks(cache, node, g, table, page);
    } else if (block_table_ids(table, 0)[page] != *blocks_of(cache, node, g)) {
        unref_blocks(cache, g, table, page);
        ref_blocks(cache, node, g, table, page);
    }
}

void prefix_cache_commit(struct prefix_cache *cache, uint64_t root, struct prefix_path *path,
                         struct block_table *tables, const int32_t *tokens, int32_t end)
{
    for (int32_t page = path->num; cache->is_on && page < end; page++) {
        const int32_t at = find_filled(cache, root, path, tables, page_tokens(cache, tokens, page));
        if (at < 0)
            return;
        for (int32_t g = 0; g < cache->kv->num_groups; g++)
            exchange(cache, at, g, &tables[g], page);
        if (path->announced == at)
            path->announced = -1;
        move_path(cache, path, page + 1, at);
    }
}

void prefix_cache_give_back(struct prefix_cache *cache, struct block_table *tables, int32_t g,
                            int32_t first)
{
    struct block_table *table = &tables[g];
    for (; table->first < first; table->first++)
        unref_blocks(cache, g, table, table->first);
}

void prefix_cache_drop(struct prefix_cache *cache, struct block_table *tables,
                       struct prefix_path *path)
{
    const int32_t num_groups = cache->kv->num_groups;
    int32_t end = 0;
    forget_announced(cache, path);
    for (int32_t g = 0; g < num_groups; g++)
        end = tables[g].num > end ? tables[g].num : end;
    for (int32_t page = end - 1; page >= 0; page--)
        for (int32_t g = 0; g < num_groups; g++)
            if (has_page(&tables[g], page))
                unref_blocks(cache, g, &tables[g], page);
    for (int32_t g = 0; g < num_groups; g++)
        tables[g].first = tables[g].num = 0;
    move_path(cache, path, 0, -1);
}
