/* How requests end before their time: through real rings. */
#include "worker/engine.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "tests/unit/runner.h"
#include "world.h"

START_TEST(a_choice_that_is_cancelled_ends_alone)
{
    struct world_setup setup = world_usual;
    setup.num_seqs = 3;
    world_open(&setup);
    struct world_asked a;
    world_ask(&a, 5);
    a.params.flags = RECORD_IGNORE_EOS;
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    struct seat_choice whole[3];
    memcpy(whole, world.seat.answers[1].choices, sizeof(whole));

    seat_submit(&world.seat, 2, &a.submit);
    while (world.seat.answers[2].choices[1].num_tokens < 2) {
        ck_assert_int_eq(engine_step(world.engine), 1);
        seat_take(&world.seat);
    }
    seat_cancel_choice(&world.seat, 2, 1);
    seat_cancel_choice(&world.seat, 2, 9); /* there is none */
    world_run(2, 3);

    const struct seat_choice *choices = world.seat.answers[2].choices;
    ck_assert_int_eq(choices[1].done.reason, RECORD_FINISH_CANCELLED);
    ck_assert_int_lt(choices[1].num_tokens, whole[1].num_tokens);
    ck_assert_int_eq(memcmp(&choices[0], &whole[0], sizeof(whole[0])), 0);
    ck_assert_int_eq(memcmp(&choices[2], &whole[2], sizeof(whole[2])), 0);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(cancel_frees_everything_in_every_state)
{
    struct world_setup setup = world_usual;
    setup.num_seqs = 2;
    setup.budget = 16;
    world_open(&setup);
    for (unsigned i = 0; i < 6; i++)
        world_submit(i);
    for (unsigned steps = 0; steps < 12; steps++)
        ck_assert_int_eq(engine_step(world.engine), 1);
    for (unsigned i = 0; i < 6; i++)
        seat_cancel(&world.seat, i);

    ck_assert_int_eq(engine_step(world.engine), 1);

    ck_assert(engine_is_empty(world.engine));
    ck_assert_int_eq(engine_step(world.engine), 0);
    world_close();
}
END_TEST

START_TEST(a_deadline_ends_what_waits_and_what_runs)
{
    struct world_setup setup = world_usual;
    struct world_asked a;
    setup.num_seqs = 1;
    world_open(&setup);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t deadline = (uint64_t)clock_now_us() + 30000;
        world_ask(&a, 7);
        a.params.max_tokens = 200 - a.submit.num_prompt % 100;
        a.submit.num_prompt = 20;
        a.params.flags = RECORD_IGNORE_EOS;
        a.params.deadline_low = (uint32_t)deadline;
        a.params.deadline_high = (uint32_t)(deadline >> 32);
        seat_submit(&world.seat, i, &a.submit);
    }
    engine_step(world.engine);
    while (clock_now_us() < (int64_t)record_join(a.params.deadline_low, a.params.deadline_high))
        ;
    world_run(0, 2);

    ck_assert_int_eq(world.seat.answers[0].failure, RECORD_FAILURE_DEADLINE);
    ck_assert_int_eq(world.seat.answers[1].failure, RECORD_FAILURE_DEADLINE);
    ck_assert(world.seat.answers[0].is_started);
    ck_assert(!world.seat.answers[1].is_started);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(what_never_fits_is_refused_before_it_is_accepted)
{
    struct world_setup setup = world_usual;
    setup.num_blocks = 4;
    world_open(&setup);
    struct world_asked a;
    world_ask(&a, 1);
    a.submit.num_prompt = 60;
    a.params.max_tokens = 6;
    a.params.min_tokens = 0;
    seat_submit(&world.seat, 1, &a.submit);

    world_run(1, 2);

    ck_assert_int_eq(world.seat.answers[1].failure, RECORD_FAILURE_TOO_LONG);
    ck_assert(!world.seat.answers[1].is_accepted);
    world_close();
}
END_TEST

enum { BAD_TOP_K = 77 };

static void spoil(const struct sample_row *rows, int32_t num)
{
    for (int32_t i = 0; i < num; i++)
        if (rows[i].top_k == BAD_TOP_K)
            *rows[i].bad = true;
}

START_TEST(a_row_that_is_not_a_number_fails_its_request_alone)
{
    struct world_setup setup = world_usual;
    struct world_asked a;
    setup.spy.after = spoil;
    world_open(&setup);
    world_ask(&a, 5); /* three choices */
    a.params.top_k = BAD_TOP_K;
    world_submit(1);
    seat_submit(&world.seat, 2, &a.submit);
    world_submit(3);

    world_run(1, 4);

    ck_assert_int_eq(world.seat.answers[2].failure, RECORD_FAILURE_NAN_LOGITS);
    ck_assert_int_eq(world.seat.answers[1].failure, 0);
    ck_assert_int_eq(world.seat.answers[3].failure, 0);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(measuring_leaves_nothing_behind)
{
    struct world_setup setup = world_usual;
    setup.num_blocks = 4;
    world_open(&setup);

    ck_assert_int_gt(engine_measure(world.engine, 64), 0);

    ck_assert(engine_is_empty(world.engine));
    ck_assert_int_eq(engine_measure(world.engine, 65), -ENOSPC);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

RUN_SUITE("engine", a_choice_that_is_cancelled_ends_alone, cancel_frees_everything_in_every_state,
          a_deadline_ends_what_waits_and_what_runs,
          what_never_fits_is_refused_before_it_is_accepted,
          a_row_that_is_not_a_number_fails_its_request_alone, measuring_leaves_nothing_behind)
