/* The prefix tree alone, against a pool of two KV groups without windows, then with. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "prefix_rig.h"

START_TEST(what_a_sequence_left_is_found_by_its_tokens)
{
    struct prefix_owner o;
    prefix_rig_begin(true);
    prefix_rig_leave(1, -1, 5);
    prefix_rig_init(&o, 1);

    ck_assert_int_eq(prefix_rig_find(&o, 8).num_pages, 5);
    ck_assert_int_eq(prefix_rig_find(&o, 3).num_pages, 3);
    ck_assert_int_eq(prefix_rig_find(&o, 3).num_idle, 3);
    o.tokens[11] = 7;
    ck_assert_int_eq(prefix_rig_find(&o, 8).num_pages, 2);
    o.tokens[0] = 7;
    ck_assert_int_eq(prefix_rig_find(&o, 8).num_pages, 0);
    prefix_rig_init(&o, 2);
    ck_assert_int_eq(prefix_rig_find(&o, 8).num_pages, 0);
}
END_TEST

START_TEST(the_same_page_behind_another_is_another_page)
{
    struct prefix_owner a, b;
    prefix_rig_begin(true);
    prefix_rig_init(&a, 1);
    prefix_rig_take(&a, 2);
    prefix_rig_commit(&a, 2);
    prefix_rig_init(&b, 1);
    memcpy(b.tokens, a.tokens + PREFIX_BLOCK,
           PREFIX_BLOCK * sizeof(int32_t)); /* a's second page first */

    ck_assert_int_eq(prefix_rig_find(&b, 2).num_pages, 0);
    prefix_rig_drop(&a);
}
END_TEST

START_TEST(idle_pages_count_as_free_and_give_way_when_they_are_needed)
{
    struct prefix_owner o;
    prefix_rig_begin(true);
    prefix_rig_leave(1, -1, 8);

    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS / 2);
    ck_assert_int_eq(prefix_rig.pool.num_idle, 8);
    prefix_rig_init(&o, 2);
    prefix_rig_add(&o, 8);
    prefix_cache_make_room(&prefix_rig.cache, 9);
    ck_assert_int_eq(prefix_rig.cache.num_evicted, 1); /* 8 of 24 are in use, 9 free, 7 stay */
    prefix_rig_init(&o, 1);
    ck_assert_int_eq(prefix_rig_find(&o, 8).num_pages, 7); /* the leaf went */
}
END_TEST

START_TEST(the_least_recently_used_leaf_goes_first)
{
    struct prefix_owner a, b, c;
    prefix_rig_begin(true);
    prefix_rig_leave(1, -1, 6);
    prefix_rig_leave(2, -1, 6);
    prefix_rig_leave(3, -1, 6);
    prefix_rig_init(&a, 1);
    prefix_rig_take(&a, 6);
    prefix_rig_drop(&a); /* used again: 2 is the oldest */
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS / 2 - 6 - 6 - 2);

    prefix_rig_init(&b, 2);
    prefix_rig_init(&c, 3);
    ck_assert_int_eq(prefix_rig_find(&a, 6).num_pages, 6);
    ck_assert_int_eq(prefix_rig_find(&b, 6).num_pages, 2);
    ck_assert_int_eq(prefix_rig_find(&c, 6).num_pages, 6);
}
END_TEST

START_TEST(pages_in_use_are_never_evicted)
{
    struct prefix_owner a, b;
    prefix_rig_begin(true);
    prefix_rig_init(&a, 1);
    prefix_rig_take(&a, 6);
    prefix_rig_commit(&a, 6);
    prefix_rig_leave(1, 9, 6); /* shares two pages with it */
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS / 2 - 6);

    ck_assert_int_eq(prefix_rig.cache.num_evicted, 4);
    prefix_rig_init(&b, 1);
    ck_assert_int_eq(prefix_rig_find(&b, 6).num_pages, 6);
    ck_assert_int_eq(prefix_rig_find(&b, 6).num_idle, 0);
    prefix_rig_drop(&a);
}
END_TEST

START_TEST(an_announced_page_is_waited_for_until_it_is_filled_or_given_up)
{
    struct prefix_owner a, b;
    prefix_rig_begin(true);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 4);
    prefix_rig_announce(&a);

    struct prefix_match match = prefix_rig_find(&b, 4);
    ck_assert_int_eq(match.num_pages, 0);
    ck_assert(prefix_cache_is_awaited(&prefix_rig.cache, match.awaited, match.awaited_number));
    ck_assert_int_eq(match.awaited, a.path.announced); /* the last one that helps */
    prefix_rig_commit(&a, 2);
    ck_assert_int_eq(prefix_rig_find(&b, 4).num_pages, 2);
    ck_assert(prefix_cache_is_awaited(&prefix_rig.cache, match.awaited, match.awaited_number));
    prefix_rig_drop(&a);
    ck_assert(!prefix_cache_is_awaited(&prefix_rig.cache, match.awaited, match.awaited_number));
    ck_assert_int_eq(prefix_rig_find(&b, 4).num_pages, 2);
    ck_assert_int_eq(prefix_rig_find(&b, 4).awaited, -1);
    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS / 2);
}
END_TEST

START_TEST(a_page_filled_twice_is_kept_once)
{
    struct prefix_owner a, b;
    prefix_rig_begin_windows(true, 0, 0);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 3);
    prefix_rig_take(&b, 3);
    ck_assert_int_eq(prefix_rig_commit(&a, 3), 3);

    ck_assert_int_eq(prefix_rig_commit(&b, 3), 3);

    for (int32_t part = 0; part < prefix_rig.kv.num_parts; part++) {
        ck_assert_int_eq(memcmp(a.ids[part], b.ids[part], 3 * sizeof(int32_t)), 0);
        ck_assert_int_eq(prefix_rig.pool.ref_counts[a.ids[part][0]], 2);
    }
    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS - 3 * prefix_rig.kv.num_parts);
    prefix_rig_drop(&a);
    prefix_rig_drop(&b);
    ck_assert_int_eq(prefix_rig.pool.num_idle, 3 * prefix_rig.kv.num_parts);
}
END_TEST

START_TEST(a_page_that_another_has_announced_is_left_to_it)
{
    struct prefix_owner a, b;
    prefix_rig_begin(true);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 3);
    prefix_rig_announce(&a);
    prefix_rig_add(&b, 3); /* computed by itself all the same */

    ck_assert_int_eq(prefix_rig_commit(&b, 3), 0);
    ck_assert_int_eq(prefix_rig_commit(&a, 3), 3);
    ck_assert_int_eq(prefix_rig_commit(&b, 3), 3);
    ck_assert_int_eq(a.ids[0][2], b.ids[0][2]);
    prefix_rig_drop(&b);
    prefix_rig_drop(&a);
    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS / 2);
}
END_TEST

START_TEST(a_cache_that_is_off_keeps_nothing)
{
    struct prefix_owner o;
    prefix_rig_begin(false);
    prefix_rig_leave(1, -1, 5);
    prefix_rig_init(&o, 1);

    ck_assert_int_eq(prefix_rig_find(&o, 5).num_pages, 0);
    ck_assert_int_eq(prefix_rig.pool.num_idle, 0);
    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS / 2);
}
END_TEST

/* --- windows ------------------------------------------------------------------------------ */

/* Blocks of (page, group) that are there with nobody referring to them. */
static int32_t num_idle_of(int32_t pages_a, int32_t pages_b)
{
    return pages_a * prefix_rig.kv.groups[0].num_parts +
           pages_b * prefix_rig.kv.groups[1].num_parts;
}

/* The window of group 1 is two pages: a row at the beginning of one reads the two before it. */
enum { TWO_PAGES = 2 * PREFIX_BLOCK + 1 };

START_TEST(a_path_can_be_taken_without_what_lies_behind_its_window)
{
    struct prefix_owner a, b;
    prefix_rig_begin_windows(true, 0, TWO_PAGES);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 6);
    prefix_rig_commit(&a, 6);
    prefix_rig_move_on(&a, 6);
    ck_assert_int_eq(a.tables[1].first, 4);
    ck_assert_int_eq(prefix_rig.pool.num_idle, num_idle_of(0, 4));

    ck_assert_int_eq(prefix_rig_take(&b, 6), 6);
    ck_assert_int_eq(b.tables[0].first, 0);
    ck_assert_int_eq(b.tables[1].first, 4);
    ck_assert_int_eq(b.ids[2][5], a.ids[2][5]);
    ck_assert_int_eq(prefix_rig.pool.ref_counts[a.ids[1][4]], 2);
    prefix_rig_drop(&a);
    prefix_rig_drop(&b);
    ck_assert_int_eq(prefix_rig.pool.num_idle, num_idle_of(6, 6));
}
END_TEST

START_TEST(a_hit_ends_where_a_window_still_holds_what_the_next_row_reads)
{
    struct prefix_owner a, b;
    prefix_rig_begin_windows(true, 0, TWO_PAGES);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 6);
    prefix_rig_commit(&a, 6);
    prefix_rig_move_on(&a, 6); /* pages 0 to 3 of the window are the oldest that are idle */
    prefix_cache_make_room(&prefix_rig.cache,
                           prefix_rig.pool.num_free - prefix_rig.pool.num_idle + num_idle_of(0, 2));

    ck_assert_int_eq(prefix_rig_find(&b, 6).num_pages, 6);
    ck_assert_int_eq(prefix_rig_find(&b, 5).num_pages, 5); /* reads pages 3 and 4 */
    ck_assert_int_eq(prefix_rig_find(&b, 4).num_pages, 4);
    ck_assert_int_eq(prefix_rig_find(&b, 3).num_pages, 0); /* would read 1 and 2 */
    prefix_cache_make_room(&prefix_rig.cache,
                           prefix_rig.pool.num_free - prefix_rig.pool.num_idle + num_idle_of(0, 1));
    ck_assert_int_eq(prefix_rig_find(&b, 5).num_pages, 5);
    ck_assert_int_eq(prefix_rig_find(&b, 4).num_pages, 0); /* would read 2, which is gone */
    prefix_rig_drop(&a);
}
END_TEST

START_TEST(what_is_computed_again_fills_the_holes)
{
    struct prefix_owner a, b, c;
    prefix_rig_begin_windows(true, 0, TWO_PAGES);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_init(&c, 1);
    prefix_rig_take(&a, 6);
    prefix_rig_commit(&a, 6);
    prefix_rig_move_on(&a, 6);
    prefix_cache_make_room(&prefix_rig.cache,
                           PREFIX_NUM_BLOCKS - num_idle_of(6, 2)); /* all that is idle */
    ck_assert_int_eq(prefix_rig_find(&b, 3).num_pages, 0);

    prefix_rig_take(&b, 3);
    const int32_t own = b.ids[1][2];
    ck_assert_int_eq(prefix_rig_commit(&b, 3), 3);
    ck_assert_int_eq(b.ids[0][2], a.ids[0][2]); /* the tree's */
    ck_assert_int_eq(b.ids[1][2], own);         /* the tree's, too */
    ck_assert_int_eq(prefix_rig_find(&c, 3).num_pages, 3);
    prefix_rig_drop(&b);
    ck_assert_int_eq(prefix_rig_take(&c, 3), 3);
    ck_assert_int_eq(c.ids[1][2], own);
    prefix_rig_drop(&c);
    prefix_rig_drop(&a);
    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS);
}
END_TEST

START_TEST(a_page_that_is_evicted_takes_what_its_windows_have_along)
{
    struct prefix_owner a;
    prefix_rig_begin_windows(true, 0, TWO_PAGES);
    prefix_rig_leave(1, -1, 6);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS - num_idle_of(6, 6) + 1);
    prefix_rig_init(&a, 1);

    ck_assert_int_eq(prefix_rig.pool.num_idle, num_idle_of(5, 5));
    ck_assert_int_eq(prefix_rig_find(&a, 6).num_pages, 5);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS);
    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 0);
}
END_TEST

START_TEST(where_every_group_has_a_window_paths_go_on_through_pages_without_blocks)
{
    struct prefix_owner a, b;
    prefix_rig_begin_windows(true, TWO_PAGES, TWO_PAGES);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 8);
    prefix_rig_commit(&a, 8);
    prefix_rig_move_on(&a, 8);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS - num_idle_of(2, 2));
    ck_assert_int_eq(prefix_rig.pool.num_idle, 0);
    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 8);

    ck_assert_int_eq(prefix_rig_find(&b, 8).num_pages, 8);
    ck_assert_int_eq(prefix_rig_find(&b, 7).num_pages, 0);
    prefix_rig_drop(&a);
    ck_assert_int_eq(prefix_rig_take(&b, 8), 8);
    prefix_rig_drop(&b);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS);
    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 0);
}
END_TEST

START_TEST(a_fork_keeps_its_part_of_the_path)
{
    struct prefix_owner a, b;
    prefix_rig_begin_windows(true, TWO_PAGES, TWO_PAGES);
    prefix_rig_init(&a, 1);
    prefix_rig_init(&b, 1);
    prefix_rig_take(&a, 6);
    prefix_rig_commit(&a, 6);
    prefix_cache_fork(&prefix_rig.cache, &a.path, 4, &b.path);
    ck_assert_int_eq(b.path.num, 4);
    prefix_rig_drop(&a);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS);

    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 4); /* its tokens, and nothing else */
    prefix_rig_drop(&b);
    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 0);
}
END_TEST

START_TEST(a_tree_that_is_full_takes_no_more_and_loses_nothing)
{
    enum { MANY = 12 };
    static struct prefix_owner owners[MANY];
    int32_t num_in = 0;
    prefix_rig_begin_windows(true, 1, 1); /* a row reads nothing but itself */
    prefix_rig.cache.num_nodes = 40;
    for (int i = 0; i < MANY; i++) {
        prefix_rig_init(&owners[i], (uint64_t)i);
        prefix_rig_take(&owners[i], 1);
        for (int32_t page = 0; page < PREFIX_MAX_PAGES; page++) {
            prefix_rig_commit(&owners[i], page + 1);
            prefix_rig_move_on(&owners[i], page + 1);
            if (page + 1 < PREFIX_MAX_PAGES)
                prefix_rig_add(&owners[i], 1);
        }
        num_in += owners[i].path.num;
    }
    ck_assert_int_eq(num_in, 40);
    for (int i = 0; i < MANY; i++)
        prefix_rig_drop(&owners[i]);
    ck_assert_int_eq(prefix_rig.pool.num_free, PREFIX_NUM_BLOCKS);
    prefix_cache_make_room(&prefix_rig.cache, PREFIX_NUM_BLOCKS);
    ck_assert_int_eq(prefix_rig.cache.num_in_tree, 0);
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
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
