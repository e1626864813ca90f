#include "worker/prefix_cache.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "worker/prefix_tree.h"

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

/* --- finding ------------------------------------------------------------------------------ */

static const int32_t *page_tokens(const struct prefix_cache *cache, const int32_t *tokens,
                                  int32_t page)
{
    return tokens + (size_t)page * (size_t)cache->kv->block_size;
}

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
        runs[g] = prefix_tree_has(cache, node, g) ? runs[g] + 1 : 0;
        can_end = can_end && runs[g] >= num_pages - first_wanted(cache, g, num_pages);
    }
    return can_end;
}

static int32_t count_idle(const struct prefix_cache *cache, const struct prefix_match *match)
{
    int32_t at = match->last, num = 0;
    for (int32_t page = match->num_pages - 1; page >= 0; page--) {
        for (int32_t g = 0; g < cache->kv->num_groups; g++)
            if (page >= first_wanted(cache, g, match->num_pages) &&
                prefix_tree_is_idle(cache, at, g))
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
        at = prefix_tree_find(cache, root, at, page_tokens(cache, tokens, page));
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
    prefix_tree_prune(cache, before);
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
                prefix_tree_ref(cache, at, g, &tables[g], page);
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
        if (prefix_tree_find(cache, root, parent, of_page) >= 0)
            return;
        const int32_t at = prefix_tree_add(cache, root, parent, of_page, NODE_ANNOUNCED);
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
        prefix_tree_remove(cache, at);
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
    const int32_t at = prefix_tree_find(cache, root, path->last, tokens);
    if (at < 0 && !has_any(cache, tables, path->num)) /* too late */
        return -1;
    if (at < 0)
        return prefix_tree_add(cache, root, path->last, tokens, NODE_READY);
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
    if (!prefix_tree_has(cache, node, g)) {
        prefix_tree_keep(cache, node, g, table, page);
    } else if (block_table_ids(table, 0)[page] != *prefix_tree_blocks(cache, node, g)) {
        prefix_tree_unref(cache, g, table, page);
        prefix_tree_ref(cache, node, g, table, page);
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
        prefix_tree_unref(cache, g, table, table->first);
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
                prefix_tree_unref(cache, g, &tables[g], page);
    for (int32_t g = 0; g < num_groups; g++)
        tables[g].first = tables[g].num = 0;
    move_path(cache, path, 0, -1);
}
