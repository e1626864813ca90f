#include "worker/warm_up.h"

#include <check.h>
#include <stdlib.h>

#include "world.h"

static struct scheduler_limits limits_of(int32_t budget, int32_t num_blocks)
{
    return (struct scheduler_limits){ .max_num_batched_tokens = budget,
                                      .max_model_len = WORLD_MAX_LEN,
                                      .kv = world.limits.kv,
                                      .num_blocks = num_blocks };
}

START_TEST(a_chosen_budget_is_within_the_limits_and_nothing_is_left_behind)
{
    static const struct {
        int32_t budget, num_blocks, least;
    } cases[] = { { 512, 512, 64 }, { 512, 3, 64 }, { 16, 512, 16 }, { 1, 1, 1 } };
    struct world_setup setup = world_usual;
    setup.budget = cases[_i].budget;
    setup.num_blocks = cases[_i].num_blocks;
    world_open(&setup);
    const struct scheduler_limits limits = limits_of(cases[_i].budget, cases[_i].num_blocks);

    struct warm_up_result result;
    ck_assert_int_eq(warm_up(world.engine, &limits, true, &result), 0);

    ck_assert_int_ge(result.max_num_batched_tokens, cases[_i].least);
    ck_assert_int_le(result.max_num_batched_tokens, cases[_i].budget);
    ck_assert(result.first_us > 0);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(a_budget_that_was_set_is_kept)
{
    struct world_setup setup = world_usual;
    setup.budget = 48;
    world_open(&setup);
    const struct scheduler_limits limits = limits_of(48, 512);

    struct warm_up_result result;
    ck_assert_int_eq(warm_up(world.engine, &limits, false, &result), 0);
    ck_assert_int_eq(result.max_num_batched_tokens, 48);

    world_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("warm_up");
    TCase *tc = tcase_create("warm_up");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_chosen_budget_is_within_the_limits_and_nothing_is_left_behind, 0, 4);
    tcase_add_test(tc, a_budget_that_was_set_is_kept);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
