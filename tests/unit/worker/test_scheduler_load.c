/* Random requests for many steps, planned one after the other and one ahead, with stops that are
 * seen late. What must hold is checked after every plan: sim.c. */
#include "sim.h"

#include <stdlib.h>

static const struct {
    int32_t num_seqs, budget, num_blocks;
    unsigned patience;
    bool preempts;
    int32_t num_groups, windows[2];
} loads[] = {
    { 1, 1, 32, 1, false, 1, { 0 } },       { 4, 3, 32, 1, false, 1, { 0 } },
    { 8, 16, 64, 1, false, 1, { 0 } },      { 16, 64, 40, 1, true, 1, { 0 } },
    { 16, 8, 26, 3, true, 1, { 0 } },       { 16, 48, 64, 9, false, 1, { 0 } },
    { 8, 96, 24, 2, true, 1, { 0 } },       { 1, 1, 24, 1, false, 1, { 9 } },
    { 16, 8, 24, 2, true, 1, { 11 } },      { 8, 64, 64, 1, false, 1, { 5 } },
    { 16, 16, 90, 3, true, 2, { 0, 10 } },  { 8, 48, 200, 1, false, 2, { 0, 6 } },
    { 16, 24, 100, 1, true, 2, { 17, 0 } }, { 16, 64, 96, 9, true, 2, { 1, 30 } },
    { 16, 5, 52, 2, true, 2, { 14, 3 } },
};

/* Did it happen at all? */
static void check_ahead(void)
{
    if (sim.is_ahead) {
        ck_assert_int_gt(sim.num_ahead, 300);
        ck_assert_int_gt(sim.num_wasted, 20);
    } else {
        ck_assert_int_eq(sim.num_ahead, 0);
    }
}

START_TEST(every_request_ends_with_its_tokens_under_random_load)
{
    struct scheduler_limits limits =
        sim_limits(loads[_i / 2].num_seqs, loads[_i / 2].budget, loads[_i / 2].num_blocks);
    limits.kv = sim_groups(loads[_i / 2].windows, loads[_i / 2].num_groups);
    limits.max_penalized = loads[_i / 2].num_seqs > 4 ? SIM_MAX_LEN : 0;
    sim_begin(limits, 1 + (unsigned)_i);
    sim.is_shared = true;
    sim.penalizes = limits.max_penalized > 0 ? 2 : 0;
    sim.is_ahead = _i % 2 == 1;
    sim.fails = 700;

    for (int i = 0; i < 3000; i++) {
        if (sim_draw(4) == 0)
            sim_submit_random();
        if (sim_draw(40) == 0)
            sim_cancel_one();
        sim_step(loads[_i / 2].patience);
    }
    sim_drain(loads[_i / 2].patience);

    ck_assert_int_gt(sim.num_requests, 50);
    ck_assert(loads[_i / 2].num_seqs == 1 || sim.num_copied > 0);
    ck_assert(!loads[_i / 2].preempts || sim.num_preempted > 10);
    ck_assert_int_gt(sim.num_hit, 20);
    check_ahead();
    for (int32_t i = 0; i < sim.num_requests; i++)
        ck_assert(sim.requests[i].cancelled ||
                  sim.requests[i].num_done == sim.requests[i].num_choices);
}
END_TEST

/* How long the one that waits longest has waited for its first row. */
static int64_t longest_wait(void)
{
    const struct request *request;
    int64_t longest = 0;
    TAILQ_FOREACH(request, &sim.s.requests.active, in_active)
    {
        const struct sim_request *e = &sim.requests[request->id];
        if (request->num_seated == 0 && sim.num_steps - e->started_step > longest)
            longest = sim.num_steps - e->started_step;
    }
    return longest;
}

START_TEST(nobody_starves_in_a_hundred_thousand_steps_of_any_policy)
{
    struct scheduler_limits limits = sim_limits(16, 24, 48);
    int64_t longest = 0;
    limits.policy = (enum wait_policy)(_i / 2);
    sim_begin(limits, 11 + (unsigned)_i);
    sim.is_shared = true;
    sim.is_ahead = _i % 2 == 1;
    sim.num_priorities = 3;
    sim.num_tenants = 5;

    while (sim.num_steps < 100000 / 3 || sim.num_requests < 10000 / 3) {
        if (sim_draw(10) == 0 && sim.num_requests < SIM_MAX_REQUESTS - 1) {
            sim.requests[sim.num_requests].started_step = sim.num_steps;
            sim_submit_random();
        }
        if (sim_draw(400) == 0)
            sim_cancel_one();
        scheduler_tell_time(&sim.s, sim.num_steps * 10000);
        sim_step(1 + (unsigned)(sim.num_steps / 1000 % 3));
        const int64_t wait = longest_wait();
        longest = wait > longest ? wait : longest;
    }
    sim_drain(1);

    ck_assert_int_gt(sim.num_hit, 20);
    check_ahead();
    ck_assert_int_gt(sim.num_preempted, 10);
    ck_assert_int_lt(longest, 3000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler_load");
    TCase *tc = tcase_create("load");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_request_ends_with_its_tokens_under_random_load, 0,
                        2 * (int)(sizeof(loads) / sizeof(loads[0])));
    tcase_add_loop_test(tc, nobody_starves_in_a_hundred_thousand_steps_of_any_policy, 0,
                        2 * (WAIT_FAIR + 1));
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
