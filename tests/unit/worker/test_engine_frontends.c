/* Frontends that go, break rules, or read late: through real rings. */
#include "worker/engine.h"

#include <check.h>
#include <string.h>

#include "base/clock.h"
#include "tests/unit/runner.h"
#include "world.h"

START_TEST(a_frontend_that_goes_takes_its_requests_with_it)
{
    struct seat other;
    world_open(&world_usual);
    seat_open(&other, world.engine, 5, 64);
    for (unsigned i = 0; i < 4; i++) {
        struct world_asked a;
        world_ask(&a, i);
        seat_submit(&other, i, &a.submit);
        world_submit(i);
    }
    for (int i = 0; i < 3; i++)
        engine_step(world.engine);

    engine_disconnect(world.engine, 5);

    world_run(0, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(world.seat.answers[i].num_done, world.seat.answers[i].num_choices);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&other);
    world_close();
}
END_TEST

START_TEST(a_frontend_that_breaks_a_rule_is_reported_and_costs_nobody_else)
{
    struct seat other;
    struct world_asked a;
    world_open(&world_usual);
    seat_open(&other, world.engine, 5, 64);
    world_submit(1);
    engine_step(world.engine);
    world_ask(&a, 2);
    a.prompt[0] = world.vocab_size;
    seat_submit(&other, 2, &a.submit);

    world_run(1, 2);

    ck_assert_int_eq(world.num_reports, 1);
    ck_assert_int_eq(seat_take(&other), 0);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&other);
    world_close();
}
END_TEST

START_TEST(a_submit_with_an_id_in_use_breaks_a_rule)
{
    world_open(&world_usual);
    world_submit(1);
    world_submit(1);

    engine_step(world.engine);

    ck_assert_int_eq(world.num_reports, 1);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(a_frontend_that_does_not_read_delays_only_itself)
{
    struct seat deaf;
    world_open(&world_usual);
    seat_open(&deaf, world.engine, 5, 8);
    for (unsigned i = 0; i < 4; i++) {
        struct world_asked a;
        world_ask(&a, i);
        seat_submit(&deaf, i, &a.submit);
        world_submit(i);
    }
    world_run(0, 4);
    ck_assert(!engine_is_empty(world.engine));

    for (int idle = 0; idle<3; idle = seat_take(&deaf)> 0 ? 0 : idle + 1)
        ck_assert_int_ge(engine_step(world.engine), 0);

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(memcmp(deaf.answers[i].choices, world.seat.answers[i].choices,
                                sizeof(deaf.answers[i].choices)),
                         0);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&deaf);
    world_close();
}
END_TEST

START_TEST(logprobs_that_are_read_late_arrive_whole)
{
    struct seat late;
    struct world_asked a;
    world_open(&world_usual);
    seat_open(&late, world.engine, 5, 8);
    world_ask(&a, 1);
    a.submit.num_prompt = 90;
    a.params.max_tokens = 160; /* more than two buffers of a sequence */
    a.params.num_logprobs = 5;
    a.params.num_prompt_logprobs = 5;
    seat_submit(&world.seat, 1, &a.submit);
    seat_submit(&late, 1, &a.submit);

    for (int steps = 0; !seat_is_finished(&late, 1); steps++) {
        ck_assert_int_lt(steps, 20000);
        ck_assert_int_ge(engine_step(world.engine), 0);
        seat_take(&world.seat);
        if (steps % 90 == 89)
            seat_take(&late);
    }

    ck_assert_int_eq(late.answers[1].next_score, 90);
    ck_assert_int_eq(late.answers[1].choices[0].num_logprobs, 160);
    late.answers[1].num_waiting = world.seat.answers[1].num_waiting;
    ck_assert_int_eq(memcmp(&late.answers[1], &world.seat.answers[1], sizeof(struct seat_answer)),
                     0);
    seat_close(&late);
    world_close();
}
END_TEST

START_TEST(an_idle_engine_wakes_for_a_submit)
{
    world_open(&world_usual);
    ck_assert_int_eq(engine_step(world.engine), 0);
    world_submit(1);
    const int64_t before = clock_now_us();

    engine_idle(world.engine, 60 * 1000 * 1000);

    ck_assert_int_lt(clock_now_us() - before, 30 * 1000 * 1000);
    world_run(1, 2);
    world_close();
}
END_TEST

RUN_SUITE("engine_frontends", a_frontend_that_goes_takes_its_requests_with_it,
          a_frontend_that_breaks_a_rule_is_reported_and_costs_nobody_else,
          a_submit_with_an_id_in_use_breaks_a_rule,
          a_frontend_that_does_not_read_delays_only_itself,
          logprobs_that_are_read_late_arrive_whole, an_idle_engine_wakes_for_a_submit)
