/* The prefix tree alone, against a pool of two KV groups without windows, then with, and random use
 * of it against a model that remembers every page by its path. */
#include "worker/prefix_cache.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4, NUM_BLOCKS = 48, MAX_PAGES = 8, MAX_PARTS = 3 };

static struct reserve reserve;
static struct kv_groups kv;
static struct block_pool pool;
static struct prefix_cache cache;

struct owner {
    int32_t ids[MAX_PARTS][MAX_PAGES];
    struct block_table tables[KV_MAX_GROUPS];
    int32_t tokens[MAX_PAGES * BLOCK];
    struct prefix_path path;
    uint64_t root;
};

/* Two groups, the second one of two parts; windows of 0 are none. */
static void begin_windows(bool is_on, int32_t window_a, int32_t window_b)
{
    reserve_finish(&reserve);
    kv = (struct kv_groups){ .block_size = BLOCK,
                             .num_groups = 2,
                             .num_parts = 3,
                             .groups = { { window_a, 0, 1 }, { window_b, 1, 2 } } };
    ck_assert_int_eq(block_pool_init(&pool, NUM_BLOCKS, &reserve), 0);
    ck_assert_int_eq(prefix_cache_init(&cache, is_on, &kv, MAX_PAGES, &pool, &reserve), 0);
}

/* One group of one part, as Llama. */
static void begin(bool is_on)
{
    begin_windows(is_on, 0, 0);
    kv.num_groups = kv.num_parts = 1;
    reserve_finish(&reserve);
    ck_assert_int_eq(block_pool_init(&pool, NUM_BLOCKS / 2, &reserve), 0);
    ck_assert_int_eq(prefix_cache_init(&cache, is_on, &kv, MAX_PAGES, &pool, &reserve), 0);
}

static void init_owner(struct owner *o, uint64_t root)
{
    *o = (struct owner){ .root = root, .path = prefix_path_none };
    for (int32_t g = 0; g < kv.num_groups; g++)
        o->tables[g] =
            (struct block_table){ .ids = o->ids[kv.groups[g].first_part], .max_pages = MAX_PAGES };
    for (int32_t i = 0; i < MAX_PAGES * BLOCK; i++)
        o->tokens[i] = i;
}

static struct prefix_match find(const struct owner *o, int32_t max_pages)
{
    struct prefix_match match;
    prefix_cache_find(&cache, o->root, o->tokens, max_pages, &match);
    return match;
}

static void add_pages(struct owner *o, int32_t num)
{
    prefix_cache_make_room(&cache, num * kv.num_parts);
    for (int32_t g = 0; g < kv.num_groups; g++) {
        struct block_table *table = &o->tables[g];
        for (int32_t part = 0; part < kv.groups[g].num_parts; part++)
            ck_assert_int_eq(
                block_pool_alloc(&pool, num, block_table_ids(table, part) + table->num), 0);
        table->num += num;
    }
}

/* Take what is found, and blocks for the rest; returns the number of pages found. */
static int32_t take(struct owner *o, int32_t num_pages)
{
    const struct prefix_match match = find(o, num_pages);
    prefix_cache_share(&cache, &match, o->tables, &o->path);
    ck_assert_int_eq(o->path.num, match.num_pages);
    add_pages(o, num_pages - match.num_pages);
    return match.num_pages;
}

static void announce(struct owner *o)
{
    prefix_cache_announce(&cache, o->root, &o->path, o->tokens, o->tables[0].num);
}

static int32_t commit(struct owner *o, int32_t end)
{
    prefix_cache_commit(&cache, o->root, &o->path, o->tables, o->tokens, end);
    return o->path.num;
}

/* The windows move on to the row at the beginning of `page`. */
static void move_on(struct owner *o, int32_t page)
{
    for (int32_t g = 0; g < kv.num_groups; g++)
        prefix_cache_give_back(&cache, o->tables, g, kv_first_page(&kv, g, page * BLOCK));
}

static void drop(struct owner *o)
{
    prefix_cache_drop(&cache, o->tables, &o->path);
}

/* A sequence came, filled its pages, and went. */
static void leave(uint64_t root, int32_t differs_at, int32_t num_pages)
{
    struct owner o;
    init_owner(&o, root);
    if (differs_at >= 0)
        o.tokens[differs_at] += 1000;
    take(&o, num_pages);
    commit(&o, num_pages);
    drop(&o);
}

START_TEST(what_a_sequence_left_is_found_by_its_tokens)
{
    struct owner o;
    begin(true);
    leave(1, -1, 5);
    init_owner(&o, 1);

    ck_assert_int_eq(find(&o, 8).num_pages, 5);
    ck_assert_int_eq(find(&o, 3).num_pages, 3);
    ck_assert_int_eq(find(&o, 3).num_idle, 3);
    o.tokens[11] = 7;
    ck_assert_int_eq(find(&o, 8).num_pages, 2);
    o.tokens[0] = 7;
    ck_assert_int_eq(find(&o, 8).num_pages, 0);
    init_owner(&o, 2);
    ck_assert_int_eq(find(&o, 8).num_pages, 0);
}
END_TEST

START_TEST(the_same_page_behind_another_is_another_page)
{
    struct owner a, b;
    begin(true);
    init_owner(&a, 1);
    take(&a, 2);
    commit(&a, 2);
    init_owner(&b, 1);
    memcpy(b.tokens, a.tokens + BLOCK, BLOCK * sizeof(int32_t)); /* a's second page first */

    ck_assert_int_eq(find(&b, 2).num_pages, 0);
    drop(&a);
}
END_TEST

START_TEST(idle_pages_count_as_free_and_give_way_when_they_are_needed)
{
    struct owner o;
    begin(true);
    leave(1, -1, 8);

    ck_assert_int_eq(pool.num_free, NUM_BLOCKS / 2);
    ck_assert_int_eq(pool.num_idle, 8);
    init_owner(&o, 2);
    add_pages(&o, 8);
    prefix_cache_make_room(&cache, 9);
    ck_assert_int_eq(cache.num_evicted, 1); /* 8 of 24 are in use, 9 free, 7 stay */
    init_owner(&o, 1);
    ck_assert_int_eq(find(&o, 8).num_pages, 7); /* the leaf went */
}
END_TEST

START_TEST(the_least_recently_used_leaf_goes_first)
{
    struct owner a, b, c;
    begin(true);
    leave(1, -1, 6);
    leave(2, -1, 6);
    leave(3, -1, 6);
    init_owner(&a, 1);
    take(&a, 6);
    drop(&a); /* used again: 2 is the oldest */
    prefix_cache_make_room(&cache, NUM_BLOCKS / 2 - 6 - 6 - 2);

    init_owner(&b, 2);
    init_owner(&c, 3);
    ck_assert_int_eq(find(&a, 6).num_pages, 6);
    ck_assert_int_eq(find(&b, 6).num_pages, 2);
    ck_assert_int_eq(find(&c, 6).num_pages, 6);
}
END_TEST

START_TEST(pages_in_use_are_never_evicted)
{
    struct owner a, b;
    begin(true);
    init_owner(&a, 1);
    take(&a, 6);
    commit(&a, 6);
    leave(1, 9, 6); /* shares two pages with it */
    prefix_cache_make_room(&cache, NUM_BLOCKS / 2 - 6);

    ck_assert_int_eq(cache.num_evicted, 4);
    init_owner(&b, 1);
    ck_assert_int_eq(find(&b, 6).num_pages, 6);
    ck_assert_int_eq(find(&b, 6).num_idle, 0);
    drop(&a);
}
END_TEST

START_TEST(an_announced_page_is_waited_for_until_it_is_filled_or_given_up)
{
    struct owner a, b;
    begin(true);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 4);
    announce(&a);

    struct prefix_match match = find(&b, 4);
    ck_assert_int_eq(match.num_pages, 0);
    ck_assert(prefix_cache_is_awaited(&cache, match.awaited, match.awaited_number));
    ck_assert_int_eq(match.awaited, a.path.announced); /* the last one that helps */
    commit(&a, 2);
    ck_assert_int_eq(find(&b, 4).num_pages, 2);
    ck_assert(prefix_cache_is_awaited(&cache, match.awaited, match.awaited_number));
    drop(&a);
    ck_assert(!prefix_cache_is_awaited(&cache, match.awaited, match.awaited_number));
    ck_assert_int_eq(find(&b, 4).num_pages, 2);
    ck_assert_int_eq(find(&b, 4).awaited, -1);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS / 2);
}
END_TEST

START_TEST(a_page_filled_twice_is_kept_once)
{
    struct owner a, b;
    begin_windows(true, 0, 0);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 3);
    take(&b, 3);
    ck_assert_int_eq(commit(&a, 3), 3);

    ck_assert_int_eq(commit(&b, 3), 3);

    for (int32_t part = 0; part < kv.num_parts; part++) {
        ck_assert_int_eq(memcmp(a.ids[part], b.ids[part], 3 * sizeof(int32_t)), 0);
        ck_assert_int_eq(pool.ref_counts[a.ids[part][0]], 2);
    }
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS - 3 * kv.num_parts);
    drop(&a);
    drop(&b);
    ck_assert_int_eq(pool.num_idle, 3 * kv.num_parts);
}
END_TEST

START_TEST(a_page_that_another_has_announced_is_left_to_it)
{
    struct owner a, b;
    begin(true);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 3);
    announce(&a);
    add_pages(&b, 3); /* computed by itself all the same */

    ck_assert_int_eq(commit(&b, 3), 0);
    ck_assert_int_eq(commit(&a, 3), 3);
    ck_assert_int_eq(commit(&b, 3), 3);
    ck_assert_int_eq(a.ids[0][2], b.ids[0][2]);
    drop(&b);
    drop(&a);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS / 2);
}
END_TEST

START_TEST(a_cache_that_is_off_keeps_nothing)
{
    struct owner o;
    begin(false);
    leave(1, -1, 5);
    init_owner(&o, 1);

    ck_assert_int_eq(find(&o, 5).num_pages, 0);
    ck_assert_int_eq(pool.num_idle, 0);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS / 2);
}
END_TEST

/* --- windows ------------------------------------------------------------------------------ */

/* Blocks of (page, group) that are there with nobody referring to them. */
static int32_t num_idle_of(int32_t pages_a, int32_t pages_b)
{
    return pages_a * kv.groups[0].num_parts + pages_b * kv.groups[1].num_parts;
}

/* The window of group 1 is two pages: a row at the beginning of one reads the two before it. */
enum { TWO_PAGES = 2 * BLOCK + 1 };

START_TEST(a_path_can_be_taken_without_what_lies_behind_its_window)
{
    struct owner a, b;
    begin_windows(true, 0, TWO_PAGES);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 6);
    commit(&a, 6);
    move_on(&a, 6);
    ck_assert_int_eq(a.tables[1].first, 4);
    ck_assert_int_eq(pool.num_idle, num_idle_of(0, 4));

    ck_assert_int_eq(take(&b, 6), 6);
    ck_assert_int_eq(b.tables[0].first, 0);
    ck_assert_int_eq(b.tables[1].first, 4);
    ck_assert_int_eq(b.ids[2][5], a.ids[2][5]);
    ck_assert_int_eq(pool.ref_counts[a.ids[1][4]], 2);
    drop(&a);
    drop(&b);
    ck_assert_int_eq(pool.num_idle, num_idle_of(6, 6));
}
END_TEST

START_TEST(a_hit_ends_where_a_window_still_holds_what_the_next_row_reads)
{
    struct owner a, b;
    begin_windows(true, 0, TWO_PAGES);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 6);
    commit(&a, 6);
    move_on(&a, 6); /* pages 0 to 3 of the window are the oldest that are idle */
    prefix_cache_make_room(&cache, pool.num_free - pool.num_idle + num_idle_of(0, 2));

    ck_assert_int_eq(find(&b, 6).num_pages, 6);
    ck_assert_int_eq(find(&b, 5).num_pages, 5); /* reads pages 3 and 4 */
    ck_assert_int_eq(find(&b, 4).num_pages, 4);
    ck_assert_int_eq(find(&b, 3).num_pages, 0); /* would read 1 and 2 */
    prefix_cache_make_room(&cache, pool.num_free - pool.num_idle + num_idle_of(0, 1));
    ck_assert_int_eq(find(&b, 5).num_pages, 5);
    ck_assert_int_eq(find(&b, 4).num_pages, 0); /* would read 2, which is gone */
    drop(&a);
}
END_TEST

START_TEST(what_is_computed_again_fills_the_holes)
{
    struct owner a, b, c;
    begin_windows(true, 0, TWO_PAGES);
    init_owner(&a, 1);
    init_owner(&b, 1);
    init_owner(&c, 1);
    take(&a, 6);
    commit(&a, 6);
    move_on(&a, 6);
    prefix_cache_make_room(&cache, NUM_BLOCKS - num_idle_of(6, 2)); /* all that is idle */
    ck_assert_int_eq(find(&b, 3).num_pages, 0);

    take(&b, 3);
    const int32_t own = b.ids[1][2];
    ck_assert_int_eq(commit(&b, 3), 3);
    ck_assert_int_eq(b.ids[0][2], a.ids[0][2]); /* the tree's */
    ck_assert_int_eq(b.ids[1][2], own);         /* the tree's, too */
    ck_assert_int_eq(find(&c, 3).num_pages, 3);
    drop(&b);
    ck_assert_int_eq(take(&c, 3), 3);
    ck_assert_int_eq(c.ids[1][2], own);
    drop(&c);
    drop(&a);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS);
}
END_TEST

START_TEST(a_page_that_is_evicted_takes_what_its_windows_have_along)
{
    struct owner a;
    begin_windows(true, 0, TWO_PAGES);
    leave(1, -1, 6);
    prefix_cache_make_room(&cache, NUM_BLOCKS - num_idle_of(6, 6) + 1);
    init_owner(&a, 1);

    ck_assert_int_eq(pool.num_idle, num_idle_of(5, 5));
    ck_assert_int_eq(find(&a, 6).num_pages, 5);
    prefix_cache_make_room(&cache, NUM_BLOCKS);
    ck_assert_int_eq(cache.num_in_tree, 0);
}
END_TEST

START_TEST(where_every_group_has_a_window_paths_go_on_through_pages_without_blocks)
{
    struct owner a, b;
    begin_windows(true, TWO_PAGES, TWO_PAGES);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 8);
    commit(&a, 8);
    move_on(&a, 8);
    prefix_cache_make_room(&cache, NUM_BLOCKS - num_idle_of(2, 2));
    ck_assert_int_eq(pool.num_idle, 0);
    ck_assert_int_eq(cache.num_in_tree, 8);

    ck_assert_int_eq(find(&b, 8).num_pages, 8);
    ck_assert_int_eq(find(&b, 7).num_pages, 0);
    drop(&a);
    ck_assert_int_eq(take(&b, 8), 8);
    drop(&b);
    prefix_cache_make_room(&cache, NUM_BLOCKS);
    ck_assert_int_eq(cache.num_in_tree, 0);
}
END_TEST

START_TEST(a_fork_keeps_its_part_of_the_path)
{
    struct owner a, b;
    begin_windows(true, TWO_PAGES, TWO_PAGES);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 6);
    commit(&a, 6);
    prefix_cache_fork(&cache, &a.path, 4, &b.path);
    ck_assert_int_eq(b.path.num, 4);
    drop(&a);
    prefix_cache_make_room(&cache, NUM_BLOCKS);

    ck_assert_int_eq(cache.num_in_tree, 4); /* its tokens, and nothing else */
    drop(&b);
    ck_assert_int_eq(cache.num_in_tree, 0);
}
END_TEST

START_TEST(a_tree_that_is_full_takes_no_more_and_loses_nothing)
{
    enum { MANY = 12 };
    static struct owner owners[MANY];
    int32_t num_in = 0;
    begin_windows(true, 1, 1); /* a row reads nothing but itself */
    cache.num_nodes = 40;
    for (int i = 0; i < MANY; i++) {
        init_owner(&owners[i], (uint64_t)i);
        take(&owners[i], 1);
        for (int32_t page = 0; page < MAX_PAGES; page++) {
            commit(&owners[i], page + 1);
            move_on(&owners[i], page + 1);
            if (page + 1 < MAX_PAGES)
                add_pages(&owners[i], 1);
        }
        num_in += owners[i].path.num;
    }
    ck_assert_int_eq(num_in, 40);
    for (int i = 0; i < MANY; i++)
        drop(&owners[i]);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS);
    prefix_cache_make_room(&cache, NUM_BLOCKS);
    ck_assert_int_eq(cache.num_in_tree, 0);
}
END_TEST

/* --- random use --------------------------------------------------------------------------- */

enum { NUM_OWNERS = 5 };

static const int32_t windows[][2] = {
    { 0, 0 }, { 0, 6 }, { 9, 0 }, { 5, 13 }, { 1, 1 }, { 3, 8 },
};
enum { NUM_WINDOWS = sizeof(windows) / sizeof(windows[0]) };

static uint64_t contents[NUM_BLOCKS]; /* "keys and values": a hash of part, root and path */

static uint64_t path_hash(const struct owner *o, int32_t page, int32_t part)
{
    uint64_t h = o->root + 1 + 100 * (uint64_t)part;
    for (int32_t i = 0; i < (page + 1) * BLOCK; i++)
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
static void visit(const struct owner *o, int32_t first, int32_t end, bool writes)
{
    for (int32_t g = 0; g < kv.num_groups; g++)
        for (int32_t part = 0; part < kv.groups[g].num_parts; part++)
            for (int32_t page = first; page < end; page++) {
                const int32_t id = block_table_ids(&o->tables[g], part)[page];
                const uint64_t hash = path_hash(o, page, kv.groups[g].first_part + part);
                if (page < o->tables[g].first)
                    continue;
                if (writes)
                    contents[id] = hash;
                ck_assert_uint_eq(contents[id], hash);
            }
}

static void start_random(struct owner *o)
{
    init_owner(o, (uint64_t)draw(2));
    for (int32_t i = draw(MAX_PAGES * BLOCK); i < MAX_PAGES * BLOCK; i++)
        o->tokens[i] = draw(2);
    const int32_t num_pages = 1 + draw(MAX_PAGES);
    const struct prefix_match match = find(o, num_pages);
    if ((num_pages - match.num_pages) * kv.num_parts + match.num_idle > pool.num_free)
        return;
    take(o, num_pages);
    for (int32_t g = 0; g < kv.num_groups; g++)
        ck_assert_int_eq(o->tables[g].first, kv_first_page(&kv, g, o->path.num * BLOCK));
    visit(o, 0, o->path.num, false);
    if (match.awaited < 0 && draw(2) == 0)
        announce(o);
}

static void fill_random(struct owner *o)
{
    const int32_t before = o->path.num, num = o->tables[0].num;
    const int32_t end = before + draw(num - before + 1);
    visit(o, before, end, true);
    const int32_t after = commit(o, end);
    visit(o, 0, after, false);
    if (after == end && draw(2) == 0)
        move_on(o, end);
}

static void check_counts(const struct owner *owners)
{
    int32_t refs[NUM_BLOCKS] = { 0 }, num_free = 0, num_idle = 0;
    for (int i = 0; i < NUM_OWNERS; i++)
        for (int32_t g = 0; g < kv.num_groups; g++)
            for (int32_t part = 0; part < kv.groups[g].num_parts; part++)
                for (int32_t p = owners[i].tables[g].first; p < owners[i].tables[g].num; p++)
                    refs[block_table_ids(&owners[i].tables[g], part)[p]]++;
    for (int32_t b = 0; b < NUM_BLOCKS; b++) {
        ck_assert_int_eq(pool.ref_counts[b], refs[b]);
        ck_assert_int_eq(pool.is_kept[b], cache.nodes_of[b] >= 0);
        num_free += refs[b] == 0;
        num_idle += refs[b] == 0 && pool.is_kept[b];
    }
    ck_assert_int_eq(pool.num_free, num_free);
    ck_assert_int_eq(pool.num_idle, num_idle);
}

START_TEST(random_use_finds_nothing_but_what_was_filled)
{
    static struct owner owners[NUM_OWNERS];
    int64_t num_found = 0;
    begin_windows(true, windows[_i % NUM_WINDOWS][0], windows[_i % NUM_WINDOWS][1]);
    seed = 1 + (unsigned)_i;
    for (int i = 0; i < NUM_OWNERS; i++)
        init_owner(&owners[i], 0);
    for (int step = 0; step < 20000; step++) {
        struct owner *o = &owners[draw(NUM_OWNERS)];
        if (o->tables[0].num == 0)
            start_random(o);
        else if (o->path.num < o->tables[0].num && draw(3) > 0)
            fill_random(o);
        else
            drop(o);
        num_found += o->path.num;
        if (step % 16 == 0)
            check_counts(owners);
    }
    ck_assert_int_gt(num_found, 1000);
    ck_assert_int_gt(cache.num_evicted, 1000);
    for (int i = 0; i < NUM_OWNERS; i++)
        drop(&owners[i]);
    prefix_cache_make_room(&cache, NUM_BLOCKS);
    ck_assert_int_eq(cache.num_in_tree, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_cache");
    TCase *tc = tcase_create("prefix_cache");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, what_a_sequence_left_is_found_by_its_tokens);
    tcase_add_test(tc, the_same_page_behind_another_is_another_page);
    tcase_add_test(tc, idle_pages_count_as_free_and_give_way_when_they_are_needed);
    tcase_add_test(tc, the_least_recently_used_leaf_goes_first);
    tcase_add_test(tc, pages_in_use_are_never_evicted);
    tcase_add_test(tc, an_announced_page_is_waited_for_until_it_is_filled_or_given_up);
    tcase_add_test(tc, a_page_filled_twice_is_kept_once);
    tcase_add_test(tc, a_page_that_another_has_announced_is_left_to_it);
    tcase_add_test(tc, a_cache_that_is_off_keeps_nothing);
    tcase_add_test(tc, a_path_can_be_taken_without_what_lies_behind_its_window);
    tcase_add_test(tc, a_hit_ends_where_a_window_still_holds_what_the_next_row_reads);
    tcase_add_test(tc, what_is_computed_again_fills_the_holes);
    tcase_add_test(tc, a_page_that_is_evicted_takes_what_its_windows_have_along);
    tcase_add_test(tc, where_every_group_has_a_window_paths_go_on_through_pages_without_blocks);
    tcase_add_test(tc, a_fork_keeps_its_part_of_the_path);
    tcase_add_test(tc, a_tree_that_is_full_takes_no_more_and_loses_nothing);
    tcase_add_loop_test(tc, random_use_finds_nothing_but_what_was_filled, 0, 2 * NUM_WINDOWS);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
