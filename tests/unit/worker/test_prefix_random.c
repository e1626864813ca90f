/* Random use of the prefix tree against a model that remembers every page by its path. */
#include <check.h>
#include <stdlib.h>

#include "prefix_rig.h"

enum { NUM_OWNERS = 5 };

static const int32_t windows[][2] = {
    { 0, 0 }, { 0, 6 }, { 9, 0 }, { 5, 13 }, { 1, 1 }, { 3, 8 },
};
enum { NUM_WINDOWS = sizeof(windows) / sizeof(windows[0]) };

static uint64_t contents[PREFIX_NUM_BLOCKS]; /* "keys and values": a hash of part, root and path */

static uint64_t path_hash(const struct prefix_owner *o, int32_t page, int32_t part)
{
    uint64_t h = o->root + 1 + 100 * (uint64_t)part;
    for (int32_t i = 0; i < (page + 1) * PREFIX_BLOCK; i++)
        h = (h ^ (uint64_t)o->tokens[i]) * 0x9E3779B97F4A7C15u;
    return h;
}

static unsigned seed;

static int32_t draw(int32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (int32_t)((seed >> 8) % (unsigned)below);
}

/* Write or compare the pages from `first` to `end` that are there. */
static void visit(const struct prefix_owner *o, int32_t first, int32_t end, bool writes)
{
    for (int32_t g = 0; g < prefix_rig.kv.num_groups; g++)
        for (int32_t part = 0; part < prefix_rig.kv.groups[g].num_parts; part++)
            for (int32_t page = first; page < end; page++) {
                const int32_t id = block_table_ids(&o->tables[g], part)[page];
                const uint64_t hash = path_hash(o, page, prefix_rig.kv.groups[g].first_part + part);
                if (page < o->tables[g].first)
                    continue;
                if (writes)
                    contents[id] = hash;
                ck_assert_uint_eq(contents[id], hash);
            }
}

static void start_random(struct prefix_owner *o)
{
    prefix_rig_init(o, (uint64_t)draw(2));
    for (int32_t i = draw(PREFIX_MAX_PAGES * PREFIX_BLOCK); i < PREFIX_MAX_PAGES * PREFIX_BLOCK;
         i++)
        o->tokens[i] = draw(2);
    const int32_t num_pages = 1 + draw(PREFIX_MAX_PAGES);
    const struct prefix_match match = prefix_rig_find(o, num_pages);
    if ((num_pages - match.num_pages) * prefix_rig.kv.num_parts + match.num_idle >
        prefix_rig.pool.num_free)
        return;
    prefix_rig_take(o, num_pages);
    for (int32_t g = 0; g < prefix_rig.kv.num_groups; g++)
        ck_assert_int_eq(o->tables[g].first,
                         kv_first_page(&prefix_rig.kv, g, o->path.num * PREFIX_BLOCK));
    visit(o, 0, o->path.num, false);
    if (match.awaited < 0 && draw(2) == 0)
        prefix_rig_announce(o);
}

static void fill_random(struct prefix_owner *o)
{
    const int32_t before = o->path.num, num = o->tables[0].num;
    const int32_t end = before + draw(num - before + 1);
    visit(o, before, end, true);
    const int32_t after = prefix_rig_commit(o, end);
    visit(o, 0, after, false);
    if (after == end && draw(2) == 0)
        prefix_rig_move_on(o, end);
}

static void check_counts(const struct prefix_owner *owners)
{
    int32_t refs[PREFIX_NUM_BLOCKS] = { 0 }, num_free = 0, num_idle = 0;
    for (int i = 0; i < NUM_OWNERS; i++)
        for (int32_t g = 0; g < prefix_rig.kv.num_groups; g++)
            for (int32_t part = 0; part < prefix_rig.kv.groups[g].num_parts; part++)
                for (int32_t p = owners[i].tables[g].first; p < owners[i].tables[g].num; p++)
                    refs[block_table_ids(&owners[i].tables[g], part)[p]]++;
    for (int32_t b = 0; b < PREFIX_NUM_BLOCKS; b++) {
        ck_assert_int_eq(prefix_rig.pool.ref_counts[b], refs[b]);
        ck_assert_int_eq(prefix_rig.pool.is_kept[b], prefix_rig.cache.nodes_of[b] >= 0);
        num_free += refs[b] == 0;
        num_idle += refs[b] == 0 && prefix_rig.pool.is_kept[b];
    }
    ck_assert_int_eq(prefix_rig.pool.num_free, num_free);
    ck_assert_int_eq(prefix_rig.pool.num_idle, num_idle);
}

START_TEST(random_use_finds_nothing_but_what_was_filled)
{
    static struct prefix_owner owners[NUM_OWNERS];
    int64_t num_found = 0;
    prefix_rig_begin_windows(true, windows[_i % NUM_WINDOWS][0], windows[_i % NUM_WINDOWS][1]);
    seed = 1 + (unsigned)_i;
    for (int i = 0; i < NUM_OWNERS; i++)
        prefix_rig_init(&owners[i], 0);
    for (int step = 0; step < 20000; step++) {
        struct prefix_owner *o = &owners[draw(NUM_OWNERS)];
        if (o->tables[0].num == 0)
            start_random(o);
        else if (o->path.num < o->tables[0].num && draw(3) > 0)
            fill_random(o);
        else
            prefix_rig_drop(o);
        num_found += o->path.num;
        if (step % 16 == 0)
            check_counts(owners);
    }
    ck_assert_int_gt(num_found, 1000);
    ck_assert_int_gt(prefix_rig.cache.num_evicted, 1000);
    for (int i = 0; i < NUM_OWNERS; i++)
        prefix_rig_drop(&owners[i]);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS);
    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_random");
    TCase *tc = tcase_create("prefix_random");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, random_use_finds_nothing_but_what_was_filled, 0, 2 * NUM_WINDOWS);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
