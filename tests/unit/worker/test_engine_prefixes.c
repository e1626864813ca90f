/* What prompts have in common, through real rings. That it changes no answer is law 1: test_law1.c.
 */
#include "worker/engine.h"

#include <check.h>

#include "proto/records/stats.h"
#include "tests/unit/runner.h"
#include "world.h"

START_TEST(a_prefix_is_computed_once_for_requests_that_arrive_together)
{
    enum { NUM = 32, SAME = 200, OWN = 3 };
    const int32_t sum =
        stat_word(STAT_ITERATION_TOKENS) + stat_num_words(STAT_ITERATION_TOKENS) - 2;
    struct world_asked a;
    struct world_setup setup = world_usual;
    setup.budget = 64;
    world_open(&setup);
    for (unsigned i = 0; i < NUM; i++) {
        world_ask(&a, 2);
        for (unsigned t = 0; t < SAME; t++)
            a.prompt[t] = (int32_t)(t * 7 % 1000);
        for (unsigned t = 0; t < OWN; t++)
            a.prompt[SAME + t] = (int32_t)(i + t);
        a.submit.num_prompt = SAME + OWN;
        a.params.max_tokens = 1;
        seat_submit(&world.seat, i, &a.submit);
    }
    world_run(0, NUM);

    const unsigned found = SAME / 16 * 16;
    ck_assert_uint_eq(status_get(world.page, sum), found + NUM * (SAME + OWN - found));
    ck_assert_uint_eq(status_get(world.page, stat_word(STAT_PREFIX_HIT_TOKENS)), (NUM - 1) * found);
    ck_assert_uint_eq(status_get(world.page, stat_word(STAT_PREFIX_QUERY_TOKENS)),
                      NUM * (SAME + OWN));
    ck_assert_uint_eq(world.seat.answers[0].cached_tokens, 0);
    ck_assert_uint_eq(world.seat.answers[NUM - 1].cached_tokens, found);
    world_close();
}
END_TEST

START_TEST(prompts_of_another_key_find_nothing)
{
    struct world_asked a;
    world_open(&world_usual);
    for (unsigned i = 0; i < 3; i++) {
        world_ask(&a, 2);
        a.params.cache_high = i / 2;
        a.params.max_tokens = 1;
        a.submit.num_prompt = 100;
        seat_submit(&world.seat, i, &a.submit);
        world_run(i, i + 1);
    }

    ck_assert_uint_eq(world.seat.answers[0].cached_tokens, 0);
    ck_assert_uint_eq(world.seat.answers[1].cached_tokens, 96);
    ck_assert_uint_eq(world.seat.answers[2].cached_tokens, 0);
    world_close();
}
END_TEST

START_TEST(prompts_that_are_scored_are_computed_whole)
{
    struct world_asked a;
    world_open(&world_usual);
    for (unsigned i = 0; i < 2; i++) {
        world_ask(&a, 2);
        a.submit.num_prompt = 100;
        a.params.max_tokens = 1;
        a.params.num_prompt_logprobs = i == 0 ? -1 : 2;
        seat_submit(&world.seat, i, &a.submit);
        world_run(i, i + 1);
    }

    ck_assert_uint_eq(world.seat.answers[1].cached_tokens, 0);
    ck_assert_int_eq(world.seat.answers[1].next_score, 100);
    ck_assert_uint_eq(status_get(world.page, stat_word(STAT_PREFIX_QUERY_TOKENS)), 100);
    world_close();
}
END_TEST

RUN_SUITE("engine_prefixes", a_prefix_is_computed_once_for_requests_that_arrive_together,
          prompts_of_another_key_find_nothing, prompts_that_are_scored_are_computed_whole)
