/* Who comes first by priority, and by what a tenant was served. One step at a time. */
#include "sim.h"

#include <string.h>

#include "tests/unit/runner.h"

/* One row of one request a step: who gets it? */
static uint64_t run_one(void)
{
    const struct plan *plan = scheduler_plan(&sim.s);
    ck_assert_int_eq(plan->num_rows, 1);
    const uint64_t id = plan->rows[0].sequence->request->id;
    sim_execute(plan);
    sim_publish_some(1);
    return id;
}

static void submit_as(int32_t priority, uint32_t tenant, int32_t num_prompt, int32_t max_tokens)
{
    sim.num_priorities = sim.num_tenants = 0;
    struct sim_request *e = &sim.requests[sim.num_requests];
    struct record_submit record = { .num_choices = 1 };
    struct request *request;
    e->params = (struct record_params){ .max_tokens = (uint32_t)max_tokens,
                                        .num_choices = 1,
                                        .num_logprobs = -1,
                                        .num_prompt_logprobs = -1,
                                        .priority = priority,
                                        .tenant = tenant };
    e->num_prompt = num_prompt;
    e->num_choices = 1;
    for (int32_t i = 0; i < num_prompt; i++)
        e->prompt[i] = (int32_t)sim_draw(SIM_VOCAB);
    record.params = &e->params;
    record.prompt = e->prompt;
    record.num_prompt = (uint32_t)num_prompt;
    record.eos_ids = sim_eos_ids;
    record.num_eos_ids = 1;
    ck_assert_int_eq(scheduler_admit(&sim.s, 0, (uint64_t)sim.num_requests, &record, &request), 0);
    e->live = true;
    sim.num_live++;
    sim.num_requests++;
}

START_TEST(a_lower_priority_starts_first_and_takes_the_place_of_a_higher)
{
    struct scheduler_limits limits = sim_limits(1, 64, 64);
    limits.policy = WAIT_PRIORITY;
    sim_begin(limits, 3);
    sim_eos_ids[0] = SIM_VOCAB; /* none */
    submit_as(5, 0, 9, 6);
    ck_assert_uint_eq(run_one(), 0);
    submit_as(5, 0, 9, 3);
    submit_as(-2, 0, 9, 2);
    submit_as(1, 0, 9, 2);

    const uint64_t order[] = { 2, 2, 3, 3, 0, 0, 0, 0, 0, 1, 1, 1 };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        ck_assert_uint_eq(run_one(), order[i]);

    ck_assert_int_eq(sim.num_preempted, 1);
    sim_check_empty();
    sim_eos_ids[0] = 13;
}
END_TEST

START_TEST(a_sequence_preempted_five_times_says_the_same)
{
    struct scheduler_limits limits = sim_limits(1, 64, 64);
    limits.policy = WAIT_PRIORITY;
    sim_begin(limits, 3);
    sim_eos_ids[0] = SIM_VOCAB;
    submit_as(9, 0, 30, 40); /* its tokens are checked at its end */
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 5; k++)
            ck_assert_uint_eq(run_one(), 0);
        submit_as(0, 0, 30, 1);
        ck_assert_uint_eq(run_one(), (uint64_t)i + 1);
    }
    sim_drain(1);

    ck_assert_int_eq(sim.num_preempted, 5);
    sim_eos_ids[0] = 13;
}
END_TEST

START_TEST(without_the_policy_priorities_are_ignored)
{
    sim_begin(sim_limits(1, 64, 64), 3);
    submit_as(5, 0, 9, 1);
    submit_as(-2, 0, 9, 1);

    ck_assert_uint_eq(run_one(), 0);
    ck_assert_uint_eq(run_one(), 1);
}
END_TEST

START_TEST(tenants_take_turns_by_tokens_however_much_one_has_sent)
{
    struct scheduler_limits limits = sim_limits(1, 64, 64);
    limits.policy = WAIT_FAIR;
    sim_begin(limits, 3);
    for (int i = 0; i < 6; i++)
        submit_as(0, 1, 20, 1); /* 24 of prompt and output */
    submit_as(0, 2, 8, 1);      /* 12: two for one of the first */
    submit_as(0, 2, 8, 1);
    submit_as(0, 2, 8, 1);

    const uint64_t order[] = { 0, 6, 7, 1, 8, 2, 3 };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        ck_assert_uint_eq(run_one(), order[i]);
}
END_TEST

START_TEST(who_rests_saves_ten_seconds_at_most)
{
    struct scheduler_limits limits = sim_limits(1, 64, 64);
    limits.policy = WAIT_FAIR;
    limits.max_num_queued_reqs = 1000;
    sim_begin(limits, 3);
    int64_t now = 0;
    for (int i = 0; i < 200; i++) { /* 14 tokens a second of tenant 1, for 200 s */
        submit_as(0, 1, 10, 1);
        scheduler_tell_time(&sim.s, now += 1000000);
        ck_assert_uint_eq(run_one(), (uint64_t)i);
    }
    for (int i = 0; i < 40; i++) {
        submit_as(0, 1, 10, 1);
        submit_as(0, 2, 10, 1);
    }
    int first = 0; /* requests of tenant 2 before one of tenant 1 */
    while (run_one() % 2 == 1)
        first++;

    ck_assert_int_ge(first, 4); /* 10 s of half of what is served: 70 tokens */
    ck_assert_int_le(first, 6);
    sim_drain(1);
}
END_TEST

RUN_SUITE("policies", a_lower_priority_starts_first_and_takes_the_place_of_a_higher,
          a_sequence_preempted_five_times_says_the_same, without_the_policy_priorities_are_ignored,
          tenants_take_turns_by_tokens_however_much_one_has_sent,
          who_rests_saves_ten_seconds_at_most)
