#include "prefix_rig.h"

#include <check.h>

struct prefix_rig prefix_rig;

void prefix_rig_begin_windows(bool is_on, int32_t window_a, int32_t window_b)
{
    reserve_finish(&prefix_rig.reserve);
    prefix_rig.kv = (struct kv_groups){ .block_size = PREFIX_BLOCK,
                                        .num_groups = 2,
                                        .num_parts = 3,
                                        .groups = { { window_a, 0, 1 }, { window_b, 1, 2 } } };
    ck_assert_int_eq(block_pool_init(&prefix_rig.pool, PREFIX_NUM_BLOCKS, &prefix_rig.reserve), 0);
    ck_assert_int_eq(prefix_cache_init(&prefix_rig.cache, is_on, &prefix_rig.kv, PREFIX_MAX_PAGES,
                                       &prefix_rig.pool, &prefix_rig.reserve),
                     0);
}

void prefix_rig_begin(bool is_on)
{
    prefix_rig_begin_windows(is_on, 0, 0);
    prefix_rig.kv.num_groups = prefix_rig.kv.num_parts = 1;
    reserve_finish(&prefix_rig.reserve);
    ck_assert_int_eq(block_pool_init(&prefix_rig.pool, PREFIX_NUM_BLOCKS / 2, &prefix_rig.reserve),
                     0);
    ck_assert_int_eq(prefix_cache_init(&prefix_rig.cache, is_on, &prefix_rig.kv, PREFIX_MAX_PAGES,
                                       &prefix_rig.pool, &prefix_rig.reserve),
                     0);
}

void prefix_rig_init(struct prefix_owner *o, uint64_t root)
{
    *o = (struct prefix_owner){ .root = root, .path = prefix_path_none };
    for (int32_t g = 0; g < prefix_rig.kv.num_groups; g++)
        o->tables[g] = (struct block_table){ .ids = o->ids[prefix_rig.kv.groups[g].first_part],
                                             .max_pages = PREFIX_MAX_PAGES };
    for (int32_t i = 0; i < PREFIX_MAX_PAGES * PREFIX_BLOCK; i++)
        o->tokens[i] = i;
}

struct prefix_match prefix_rig_find(const struct prefix_owner *o, int32_t max_pages)
{
    struct prefix_match match;
    prefix_cache_find(&prefix_rig.cache, o->root, o->tokens, max_pages, &match);
    return match;
}

void prefix_rig_add(struct prefix_owner *o, int32_t num)
{
    prefix_cache_make_room(&prefix_rig.cache, num * prefix_rig.kv.num_parts);
    for (int32_t g = 0; g < prefix_rig.kv.num_groups; g++) {
        struct block_table *table = &o->tables[g];
        for (int32_t part = 0; part < prefix_rig.kv.groups[g].num_parts; part++)
            ck_assert_int_eq(
                block_pool_alloc(&prefix_rig.pool, num, block_table_ids(table, part) + table->num),
                0);
        table->num += num;
    }
}

int32_t prefix_rig_take(struct prefix_owner *o, int32_t num_pages)
{
    const struct prefix_match match = prefix_rig_find(o, num_pages);
    prefix_cache_share(&prefix_rig.cache, &match, o->tables, &o->path);
    ck_assert_int_eq(o->path.num, match.num_pages);
    prefix_rig_add(o, num_pages - match.num_pages);
    return match.num_pages;
}

void prefix_rig_announce(struct prefix_owner *o)
{
    prefix_cache_announce(&prefix_rig.cache, o->root, &o->path, o->tokens, o->tables[0].num);
}

int32_t prefix_rig_commit(struct prefix_owner *o, int32_t end)
{
    prefix_cache_commit(&prefix_rig.cache, o->root, &o->path, o->tables, o->tokens, end);
    return o->path.num;
}

void prefix_rig_move_on(struct prefix_owner *o, int32_t page)
{
    for (int32_t g = 0; g < prefix_rig.kv.num_groups; g++)
        prefix_cache_give_back(&prefix_rig.cache, o->tables, g,
                               kv_first_page(&prefix_rig.kv, g, page * PREFIX_BLOCK));
}

void prefix_rig_drop(struct prefix_owner *o)
{
    prefix_cache_drop(&prefix_rig.cache, o->tables, &o->path);
}

void prefix_rig_leave(uint64_t root, int32_t differs_at, int32_t num_pages)
{
    struct prefix_owner o;
    prefix_rig_init(&o, root);
    if (differs_at >= 0)
        o.tokens[differs_at] += 1000;
    prefix_rig_take(&o, num_pages);
    prefix_rig_commit(&o, num_pages);
    prefix_rig_drop(&o);
}
