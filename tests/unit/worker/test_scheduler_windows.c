/* Sequences whose layers do not all see as far back: what they hold, find and share. sim.c is the
 * device. */
#include "sim.h"

#include "tests/unit/runner.h"

/* Groups with these windows; window_b -1: only one. */
static struct scheduler_limits limits_of(int32_t num_seqs, int32_t budget, int32_t num_blocks,
                                         int32_t window_a, int32_t window_b)
{
    const int32_t windows[] = { window_a, window_b };
    struct scheduler_limits limits = sim_limits(num_seqs, budget, num_blocks);
    limits.kv = sim_groups(windows, window_b < 0 ? 1 : 2);
    return limits;
}

static void without_end(void)
{
    sim_eos_ids[0] = SIM_VOCAB;
}

static int32_t num_used(void)
{
    return sim.s.blocks.num_blocks - sim.s.blocks.num_free;
}

/* Until all have ended; what is in the tree stays. */
static void run_all(void)
{
    while (sim.num_live > 0) {
        ck_assert_int_lt(sim.num_steps, 20000);
        sim_step(1);
    }
}

START_TEST(a_long_answer_behind_a_window_holds_no_more_than_the_window)
{
    sim_begin(limits_of(1, 8, 24, 10, -1), 1);
    sim.is_ahead = _i > 0;
    sim_submit(6, 1, 88, -1, -1);
    int32_t most = 0;
    while (sim.num_live > 0) {
        sim_step(1);
        most = num_used() > most ? num_used() : most;
    }
    /* 94 positions are 24 pages. What is seen is up to three, and a step ahead touches one more. */
    ck_assert_int_eq(most, 3 + _i);
    sim_check_empty();
}
END_TEST

START_TEST(only_the_groups_with_windows_forget)
{
    sim_begin(limits_of(1, 8, 96, 0, 10), 1);
    sim_submit(6, 1, 88, -1, -1);
    while (sim.num_steps < 80)
        sim_step(1);
    const struct sequence *q = sim.s.running[0];
    ck_assert_int_eq(q->tables[0].first, 0);
    ck_assert_int_eq(q->tables[1].first, (q->num_tokens - 1 - 10 + 1) / SIM_BLOCK);
    ck_assert_int_eq(num_used(), q->tables[0].num + 2 * (q->tables[1].num - q->tables[1].first));
    run_all();
    sim_check_empty();
}
END_TEST

START_TEST(a_text_may_be_longer_than_the_pool_where_every_layer_has_a_window)
{
    sim_begin(limits_of(4, 4, 8, 10, -1), 1); /* 32 positions; a text has 96 */
    sim.is_ahead = _i > 0;
    ck_assert_int_eq(sim_submit(60, 1, 36, -1, -1), 0);
    ck_assert_int_eq(sim_submit(90, 2, 6, -1, -1), 0);
    run_all();
    ck_assert_int_eq(sim.requests[0].num_done, 1);
    ck_assert_int_eq(sim.requests[1].num_done, 2);
    sim_check_empty();
    sim_begin(limits_of(4, 4, 8, 0, -1), 1);
    ck_assert_int_eq(sim_submit(60, 1, 36, -1, -1), RECORD_FAILURE_TOO_LONG);
}
END_TEST

START_TEST(chunks_are_no_longer_than_what_a_small_pool_has_room_for)
{
    sim_begin(limits_of(1, 64, 9, 10, -1), 1); /* pages for what is seen and twice 12 */
    ck_assert_int_eq(sim.s.max_chunk, 12);
    sim_submit(90, 1, 2, -1, -1);
    const struct plan *plan = scheduler_plan(&sim.s);
    ck_assert_int_eq(plan->num_tokens, 36); /* nothing is seen yet */
    sim_execute(plan);
    run_all();
    sim_check_empty();
}
END_TEST

/* The prompt `num_same` positions of which are the last one's; returns how many were found. */
static int64_t ask_again(int32_t num_prompt, int32_t num_same)
{
    const int64_t before = sim.num_hit;
    sim.num_same = num_same;
    ck_assert_int_eq(sim_submit(num_prompt, 1, 1, -1, -1), 0);
    run_all();
    return sim.num_hit - before;
}

/* What is idle is evicted, the oldest first, `num` blocks of it. */
static void evict(int32_t num)
{
    prefix_cache_make_room(&sim.s.prefixes, sim.s.blocks.num_free - sim.s.blocks.num_idle + num);
}

START_TEST(a_hit_ends_where_the_window_is_whole)
{
    sim_begin(limits_of(2, 96, 250, 0, 10), 1);
    ask_again(80, 0);
    ck_assert_int_eq(ask_again(70, 60), 60); /* in the middle, behind the first one's window */
    ck_assert_int_eq(ask_again(81, 60), 60);
    ck_assert_int_eq(ask_again(82, 81), 80); /* up to its end */
}
END_TEST

START_TEST(where_a_window_was_evicted_it_is_computed_again_and_found_then)
{
    sim_begin(limits_of(2, 96, 250, 0, 10), 1);
    ask_again(80, 0);
    evict(2 * 13);                          /* the window's pages 0 to 12: given back first */
    ck_assert_int_eq(ask_again(70, 60), 0); /* a row at 60 reads from 51 on, in page 12 */
    ck_assert_int_eq(ask_again(70, 60), 60);
    sim_check_empty();
}
END_TEST

START_TEST(where_every_layer_has_a_window_its_last_pages_are_a_prefix)
{
    sim_begin(limits_of(2, 96, 40, 10, -1), 1);
    ask_again(80, 0);
    evict(sim.s.blocks.num_idle - 3);       /* pages 17 to 19 are left */
    ck_assert_int_eq(ask_again(90, 79), 0); /* to 76: page 16 would be read */
    evict(sim.s.blocks.num_idle);
    ck_assert_int_eq(sim.s.prefixes.num_in_tree, 0);
    ask_again(80, 0);
    evict(sim.s.blocks.num_idle - 3);
    ck_assert_int_eq(ask_again(90, 80), 80);
    sim_check_empty();
}
END_TEST

START_TEST(choices_share_what_the_window_holds_and_copy_the_last_page_of_every_part)
{
    sim_begin(limits_of(4, 64, 96, 0, 3), 5);
    sim_submit(15, 3, 20, -1, -1);
    sim_step(1);

    const struct plan *plan = scheduler_plan(&sim.s);

    const struct sequence *first = sim.s.running[0], *second = sim.s.running[1];
    ck_assert_int_eq(plan->num_rows, 3);
    ck_assert_int_eq(plan->num_tokens, 3);
    ck_assert_int_eq(plan->copies.num, 2 * 3); /* position 14 is theirs; 12 and 13 are copied */
    ck_assert_int_eq(sim.s.blocks.ref_counts[first->tables[0].ids[2]], 3);
    ck_assert_int_eq(second->tables[1].first, 3);
    sim_execute(plan);
    run_all();
    sim_check_empty();
}
END_TEST

START_TEST(a_choice_that_comes_late_finds_the_prompt_or_computes_it)
{
    struct scheduler_limits limits = limits_of(1, 16, 64, 5, -1);
    limits.enable_prefix_caching = _i > 0;
    sim_begin(limits, 5);
    sim_submit(33, 4, 30, -1, -1);
    run_all();
    ck_assert_int_eq(sim.requests[0].num_done, 4);
    sim_check_empty();
}
END_TEST

RUN_ROWS("scheduler_windows", without_end, NULL, 60,
         TIMES(a_long_answer_behind_a_window_holds_no_more_than_the_window, 2),
         ONCE(only_the_groups_with_windows_forget),
         TIMES(a_text_may_be_longer_than_the_pool_where_every_layer_has_a_window, 2),
         ONCE(chunks_are_no_longer_than_what_a_small_pool_has_room_for),
         ONCE(a_hit_ends_where_the_window_is_whole),
         ONCE(where_a_window_was_evicted_it_is_computed_again_and_found_then),
         ONCE(where_every_layer_has_a_window_its_last_pages_are_a_prefix),
         ONCE(choices_share_what_the_window_holds_and_copy_the_last_page_of_every_part),
         TIMES(a_choice_that_comes_late_finds_the_prompt_or_computes_it, 2))
