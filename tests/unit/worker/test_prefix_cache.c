/* The prefix tree alone, against pools of two KV groups, and random use of it against a model that
 * remembers every page by its path. */
#include "worker/prefix_cache.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4, NUM_BLOCKS = 24, MAX_PAGES = 8, NUM_GROUPS = 2 };

static struct reserve reserve;
static struct block_pool pools[NUM_GROUPS];
static struct prefix_cache cache;

struct owner {
    int32_t ids[NUM_GROUPS][MAX_PAGES];
    struct block_table tables[NUM_GROUPS];
    int32_t tokens[MAX_PAGES * BLOCK];
    int32_t num_kept;
    uint64_t root;
};

static void begin(bool is_on)
{
    reserve_finish(&reserve);
    for (int g = 0; g < NUM_GROUPS; g++)
        ck_assert_int_eq(block_pool_init(&pools[g], NUM_BLOCKS, &reserve), 0);
    int32_t first[2]; /* the groups hand out different numbers */
    ck_assert_int_eq(block_pool_alloc(&pools[1], 2, first), 0);
    block_pool_unref(&pools[1], first[0]);
    ck_assert_int_eq(block_pool_alloc(&pools[0], 1, first), 0);
    ck_assert_int_eq(prefix_cache_init(&cache, is_on, BLOCK, NUM_GROUPS, pools, &reserve), 0);
}

static void init_owner(struct owner *o, uint64_t root)
{
    *o = (struct owner){ .root = root };
    for (int g = 0; g < NUM_GROUPS; g++)
        o->tables[g].ids = o->ids[g];
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
    prefix_cache_make_room(&cache, num);
    for (int g = 0; g < NUM_GROUPS; g++) {
        ck_assert_int_eq(block_pool_alloc(&pools[g], num, o->ids[g] + o->tables[g].num), 0);
        o->tables[g].num += num;
    }
}

/* Take what is found, and blocks for the rest; returns the number of pages found. */
static int32_t take(struct owner *o, int32_t num_pages)
{
    const struct prefix_match match = find(o, num_pages);
    prefix_cache_share(&cache, &match, o->tables);
    o->num_kept = match.num_pages;
    add_pages(o, num_pages - match.num_pages);
    return match.num_pages;
}

static void announce(const struct owner *o)
{
    prefix_cache_announce(&cache, o->root, o->tables, o->tokens, o->num_kept, o->tables[0].num);
}

static int32_t commit(struct owner *o, int32_t end)
{
    return o->num_kept =
               prefix_cache_commit(&cache, o->root, o->tables, o->tokens, o->num_kept, end);
}

static void drop(struct owner *o)
{
    while (o->tables[0].num > 0)
        prefix_cache_drop_last(&cache, o->tables);
    o->num_kept = 0;
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

    ck_assert_int_eq(pools[0].num_free, NUM_BLOCKS - 1);
    ck_assert_int_eq(pools[1].num_free, NUM_BLOCKS - 1);
    ck_assert_int_eq(pools[0].num_idle, 8);
    init_owner(&o, 2);
    for (int i = 0; i < 2; i++) {
        o.tables[0].num = o.tables[1].num = 0;
        add_pages(&o, 8);
    }
    ck_assert_int_eq(cache.num_evicted, 1); /* 23 free, 16 are in use, 7 stay */
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
    prefix_cache_make_room(&cache, NUM_BLOCKS - 1 - 6 - 6 - 2);

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
    prefix_cache_make_room(&cache, NUM_BLOCKS - 1 - 6);

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
    ck_assert_int_eq(match.awaited, a.ids[0][3]); /* the last one that helps */
    commit(&a, 2);
    ck_assert_int_eq(find(&b, 4).num_pages, 2);
    ck_assert(prefix_cache_is_awaited(&cache, match.awaited, match.awaited_number));
    drop(&a);
    ck_assert(!prefix_cache_is_awaited(&cache, match.awaited, match.awaited_number));
    ck_assert_int_eq(find(&b, 4).num_pages, 2);
    ck_assert_int_eq(find(&b, 4).awaited, -1);
    ck_assert_int_eq(pools[0].num_free, NUM_BLOCKS - 1);
}
END_TEST

START_TEST(a_page_filled_twice_is_kept_once)
{
    struct owner a, b;
    begin(true);
    init_owner(&a, 1);
    init_owner(&b, 1);
    take(&a, 3);
    take(&b, 3);
    ck_assert_int_eq(commit(&a, 3), 3);

    ck_assert_int_eq(commit(&b, 3), 3);

    for (int g = 0; g < NUM_GROUPS; g++) {
        ck_assert_int_eq(memcmp(a.ids[g], b.ids[g], 3 * sizeof(int32_t)), 0);
        ck_assert_int_eq(pools[g].ref_counts[a.ids[g][0]], 2);
        ck_assert_int_eq(pools[g].num_free, NUM_BLOCKS - 1 - 3);
    }
    drop(&a);
    drop(&b);
    ck_assert_int_eq(pools[0].num_idle, 3);
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
    ck_assert_int_eq(pools[1].num_free, NUM_BLOCKS - 1);
}
END_TEST

START_TEST(a_cache_that_is_off_keeps_nothing)
{
    struct owner o;
    begin(false);
    leave(1, -1, 5);
    init_owner(&o, 1);

    ck_assert_int_eq(find(&o, 5).num_pages, 0);
    ck_assert_int_eq(pools[0].num_idle, 0);
    ck_assert_int_eq(pools[0].num_free, NUM_BLOCKS - 1);
}
END_TEST

/* --- random use --------------------------------------------------------------------------- */

enum { NUM_OWNERS = 5 };

static uint64_t contents[NUM_BLOCKS]; /* "keys and values": a hash of root and path */

static uint64_t path_hash(const struct owner *o, int32_t page)
{
    uint64_t h = o->root + 1;
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

static void start_random(struct owner *o)
{
    init_owner(o, (uint64_t)draw(2));
    for (int32_t i = draw(MAX_PAGES * BLOCK); i < MAX_PAGES * BLOCK; i++)
        o->tokens[i] = draw(2);
    const int32_t num_pages = 1 + draw(MAX_PAGES);
    const struct prefix_match match = find(o, num_pages);
    if (num_pages - match.num_pages + match.num_idle > pools[0].num_free)
        return;
    take(o, num_pages);
    for (int32_t page = 0; page < o->num_kept; page++)
        ck_assert_uint_eq(contents[o->ids[0][page]], path_hash(o, page));
    if (match.awaited < 0 && draw(2) == 0)
        announce(o);
}

static void fill_random(struct owner *o)
{
    const int32_t num = o->tables[0].num, end = o->num_kept + draw(num - o->num_kept + 1);
    for (int32_t page = o->num_kept; page < end; page++)
        contents[o->ids[0][page]] = path_hash(o, page);
    commit(o, end);
    for (int32_t page = 0; page < o->num_kept; page++)
        ck_assert_uint_eq(contents[o->ids[0][page]], path_hash(o, page));
}

static void check_counts(const struct owner *owners)
{
    for (int g = 0; g < NUM_GROUPS; g++) {
        int32_t refs[NUM_BLOCKS] = { 0 }, num_free = 0;
        for (int i = 0; i < NUM_OWNERS; i++)
            for (int32_t p = 0; p < owners[i].tables[g].num; p++)
                refs[owners[i].ids[g][p]]++;
        for (int32_t b = 0; b < NUM_BLOCKS; b++)
            num_free += refs[b] == 0;
        ck_assert_int_eq(pools[g].num_free, num_free - 1); /* begin() holds one */
        for (int32_t b = 0; b < NUM_BLOCKS; b++)
            ck_assert(pools[g].ref_counts[b] == refs[b] ||
                      (refs[b] == 0 && pools[g].ref_counts[b] == 1));
    }
}

START_TEST(random_use_finds_nothing_but_what_was_filled)
{
    struct owner owners[NUM_OWNERS];
    int64_t num_found = 0;
    begin(true);
    seed = 1 + (unsigned)_i;
    for (int i = 0; i < NUM_OWNERS; i++)
        init_owner(&owners[i], 0);
    for (int step = 0; step < 20000; step++) {
        struct owner *o = &owners[draw(NUM_OWNERS)];
        if (o->tables[0].num == 0)
            start_random(o);
        else if (o->num_kept < o->tables[0].num && draw(3) > 0)
            fill_random(o);
        else
            drop(o);
        num_found += o->num_kept;
        if (step % 16 == 0)
            check_counts(owners);
    }
    ck_assert_int_gt(num_found, 1000);
    ck_assert_int_gt(cache.num_evicted, 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_cache");
    TCase *tc = tcase_create("prefix_cache");

    tcase_add_test(tc, what_a_sequence_left_is_found_by_its_tokens);
    tcase_add_test(tc, the_same_page_behind_another_is_another_page);
    tcase_add_test(tc, idle_pages_count_as_free_and_give_way_when_they_are_needed);
    tcase_add_test(tc, the_least_recently_used_leaf_goes_first);
    tcase_add_test(tc, pages_in_use_are_never_evicted);
    tcase_add_test(tc, an_announced_page_is_waited_for_until_it_is_filled_or_given_up);
    tcase_add_test(tc, a_page_filled_twice_is_kept_once);
    tcase_add_test(tc, a_page_that_another_has_announced_is_left_to_it);
    tcase_add_test(tc, a_cache_that_is_off_keeps_nothing);
    tcase_add_loop_test(tc, random_use_finds_nothing_but_what_was_filled, 0, 8);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
