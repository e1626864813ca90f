#include <errno.h>
#include <signal.h>
#include <string.h>

#include "seats_rig.h"

/* --- hangs -------------------------------------------------------------------------------- */

static void begin_step(int64_t expected_us)
{
    atomic_store(&fake_page(worker)->step_started_us, (uint64_t)fake.now_us);
    atomic_store(&fake_page(worker)->step_expected_us, (uint64_t)expected_us);
}

START_TEST(a_step_that_does_not_end_is_a_hang_by_what_it_computes)
{
    begin_step(400000);
    pass_alive(10 * SECOND);
    ck_assert(!fake_was_killed(worker));
    pass_alive(1);
    bury_killed(worker);
    ck_assert_uint_eq(down()->attributable, 1);
}
END_TEST

START_TEST(a_long_step_that_was_expected_is_no_hang)
{
    begin_step(3 * SECOND);
    pass_alive(60 * SECOND);
    ck_assert(!fake_was_killed(worker));
    pass_alive(1);
    ck_assert(fake_was_killed(worker));
}
END_TEST

START_TEST(an_expectation_is_not_believed_beyond_half_an_hour)
{
    for (int i = 0; i < 2; i++) {
        setup();
        begin_step(i == 0 ? INT64_MAX / 4 : -1);
        pass_alive(20ll * 1800 * SECOND);
        ck_assert(!fake_was_killed(worker));
        pass_alive(1);
        ck_assert(fake_was_killed(worker));
    }
}
END_TEST

START_TEST(who_was_stopped_from_outside_is_replaced_and_blames_nobody)
{
    for (int i = 0; i < 8; i++) {
        fake.stopped = worker;
        begin_step(1);
        pass_alive(10 * SECOND + 1);
        bury_killed(worker);
        ck_assert_uint_eq(down()->attributable, 0);
        fake.stopped = NULL;
        pass_alive(0);
        say(worker, CONTROL_READY);
        fake_forget();
    }
    ck_assert(!seats.ending);
}
END_TEST

START_TEST(who_does_not_beat_for_five_seconds_hangs)
{
    pass_alive(SECOND);
    pass(5 * SECOND);
    ck_assert(!fake_was_killed(worker) && !fake_was_killed(frontend));
    atomic_store(&fake_page(other)->heartbeat_us, (uint64_t)fake.now_us);
    pass(1);
    ck_assert(fake_was_killed(worker) && fake_was_killed(frontend) && !fake_was_killed(other));
}
END_TEST

START_TEST(a_machine_that_slept_finds_nobody_hung)
{
    begin_step(1);
    fake.now_us += 3600ll * SECOND;
    seats_rearm(&seats, fake.now_us);
    pass(0);
    ck_assert(!fake_was_killed(worker) && !fake_was_killed(frontend));
    pass_alive(10 * SECOND + 1);
    ck_assert(fake_was_killed(worker) && !fake_was_killed(frontend));
}
END_TEST

START_TEST(a_load_without_progress_for_a_minute_is_a_failed_one)
{
    dies(worker, FAKE_SIGNAL(SIGKILL));
    pass(0);
    atomic_store(&fake_page(worker)->load_total_bytes, 1000);
    for (uint64_t done = 1; done <= 3; done++) {
        pass_alive(59 * SECOND);
        atomic_store(&fake_page(worker)->load_done_bytes, done);
        pass_alive(SECOND);
        ck_assert(!fake_was_killed(worker));
    }
    pass_alive(60 * SECOND + 1);
    bury_killed(worker);
    ck_assert_uint_eq(down()->attributable, 0);
    ck_assert_int_eq(seats.num_deaths, 1); /* it counts */
}
END_TEST

START_TEST(much_to_load_and_a_slow_warm_up_get_their_time)
{
    dies(worker, FAKE_SIGNAL(SIGKILL));
    pass(0);
    atomic_store(&fake_page(worker)->load_total_bytes, 100ull << 30);
    pass_alive(159 * SECOND);
    ck_assert(!fake_was_killed(worker));
    atomic_store(&fake_page(worker)->load_done_bytes, 100ull << 30);
    pass_alive(0);
    pass_alive(599 * SECOND);
    ck_assert(!fake_was_killed(worker));
    pass_alive(2 * SECOND);
    ck_assert(fake_was_killed(worker));
}
END_TEST

/* --- ranks -------------------------------------------------------------------------------- */

static void setup_ranks(void)
{
    begin(3);
    all_ready();
    fake_forget();
}

START_TEST(one_rank_takes_its_engine_along_and_all_come_again_together)
{
    struct child *follower = &seats.followers[1];
    setup_ranks();
    const uint64_t epoch = worker->incarnation;
    dies(follower, FAKE_SIGNAL(SIGSEGV));
    ck_assert_ptr_null(fake_find(frontend, CONTROL_ENGINE_DOWN)); /* the leader's to say */
    bury_killed(worker);
    ck_assert_uint_eq(down()->attributable, 1); /* by the follower's end */
    pass_alive(SECOND);
    ck_assert_int_eq(worker->pid, 0); /* one still lives */
    bury_killed(&seats.followers[0]);
    pass_alive(0);
    ck_assert_int_ne(worker->pid, 0);
    ck_assert_uint_gt(worker->incarnation, epoch);
    ck_assert_int_eq(fake.num_rank_joins, 2);
    ck_assert_int_eq(seats.num_deaths, 1);
}
END_TEST

START_TEST(a_rank_that_is_killed_from_outside_blames_nobody)
{
    setup_ranks();
    dies(&seats.followers[0], FAKE_SIGNAL(SIGKILL));
    bury_killed(worker);
    ck_assert_uint_eq(down()->attributable, 0);
}
END_TEST

START_TEST(a_leader_that_waits_for_a_stopped_rank_is_not_to_blame)
{
    setup_ranks();
    fake.stopped = &seats.followers[1];
    begin_step(1);
    pass_alive(10 * SECOND + 1);
    bury_killed(worker);
    ck_assert_uint_eq(down()->attributable, 0);
}
END_TEST

START_TEST(a_rank_that_cannot_be_started_takes_the_leader_with_it)
{
    setup_ranks();
    dies(worker, FAKE_SIGNAL(SIGKILL));
    for (uint32_t i = 0; i < 2; i++)
        bury_killed(&seats.followers[i]);
    fake.spawn_error = -ENOMEM; /* the leader's: tried again a second later */
    pass_alive(0);
    ck_assert_int_eq(worker->pid, 0);
    pass_alive(SECOND);
    ck_assert_int_ne(worker->pid, 0);
    ck_assert_int_ne(seats.followers[1].pid, 0);
}
END_TEST

RUN_SUITE_AROUND("seats_hangs", setup, NULL, a_step_that_does_not_end_is_a_hang_by_what_it_computes,
                 a_long_step_that_was_expected_is_no_hang,
                 an_expectation_is_not_believed_beyond_half_an_hour,
                 who_was_stopped_from_outside_is_replaced_and_blames_nobody,
                 who_does_not_beat_for_five_seconds_hangs, a_machine_that_slept_finds_nobody_hung,
                 a_load_without_progress_for_a_minute_is_a_failed_one,
                 much_to_load_and_a_slow_warm_up_get_their_time,
                 one_rank_takes_its_engine_along_and_all_come_again_together,
                 a_rank_that_is_killed_from_outside_blames_nobody,
                 a_leader_that_waits_for_a_stopped_rank_is_not_to_blame,
                 a_rank_that_cannot_be_started_takes_the_leader_with_it)
