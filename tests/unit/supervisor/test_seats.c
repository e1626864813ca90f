#include <errno.h>
#include <signal.h>
#include <string.h>

#include "seats_rig.h"

/* --- an engine ---------------------------------------------------------------------------- */

START_TEST(all_are_started_shown_to_each_other_and_joined_when_the_engine_is_ready)
{
    begin(1);
    ck_assert_int_eq(fake_count(frontend, CONTROL_PEER_STATUS), 3); /* the engine, itself, other */
    ck_assert_int_eq(fake.num_joins, 0);
    ck_assert_int_eq(state(), STATUS_LOADING);
    say(worker, CONTROL_READY);
    ck_assert_int_eq(fake.num_joins, 2);
    ck_assert_int_eq(state(), STATUS_READY);
    ck_assert(!seats_all_ready(&seats));
    all_ready();
    ck_assert(seats_all_ready(&seats));
}
END_TEST

START_TEST(a_killed_engine_is_replaced_at_once_and_blames_nobody)
{
    const uint64_t epoch = worker->incarnation;
    dies(worker, FAKE_SIGNAL(SIGKILL));
    ck_assert_uint_eq(down()->epoch, epoch);
    ck_assert_uint_eq(down()->attributable, 0);
    ck_assert_uint_eq(down()->failed, 0);
    ck_assert_int_eq(state(), STATUS_DOWN);
    pass(0);
    ck_assert_int_ne(worker->pid, 0);
    ck_assert_uint_gt(worker->incarnation, epoch);
    ck_assert_int_eq(state(), STATUS_LOADING);
    say(worker, CONTROL_READY);
    ck_assert_int_eq(fake.num_joins, 4);
    ck_assert_int_eq(state(), STATUS_READY);
}
END_TEST

START_TEST(an_engine_may_be_killed_from_outside_as_often_as_one_likes)
{
    for (int i = 0; i < 30; i++) {
        dies(worker, FAKE_SIGNAL(i % 2 == 0 ? SIGKILL : SIGTERM));
        pass(0);
        ck_assert_int_ne(worker->pid, 0);
        say(worker, CONTROL_READY);
        fake_forget();
    }
    ck_assert(!seats.ending);
}
END_TEST

static const int own_faults[] = { FAKE_SIGNAL(SIGSEGV), FAKE_SIGNAL(SIGABRT), FAKE_SIGNAL(SIGBUS),
                                  FAKE_SIGNAL(SIGFPE),  FAKE_SIGNAL(SIGILL),  FAKE_EXIT(4) };

START_TEST(a_crash_is_attributable_to_what_was_computed)
{
    for (size_t i = 0; i < sizeof(own_faults) / sizeof(own_faults[0]); i++) {
        setup();
        dies(worker, own_faults[i]);
        ck_assert_uint_eq(down()->attributable, 1);
    }
}
END_TEST

START_TEST(crashes_are_answered_slower_and_slower_and_the_fifth_ends_the_engine)
{
    static const int delays_s[] = { 0, 1, 2, 4 };
    for (int i = 0; i < 4; i++) {
        dies(worker, FAKE_SIGNAL(SIGSEGV));
        if (delays_s[i] > 0)
            pass_alive(delays_s[i] * SECOND - 1);
        if (delays_s[i] > 0)
            ck_assert_int_eq(worker->pid, 0);
        pass_alive(1);
        ck_assert_int_ne(worker->pid, 0);
        say(worker, CONTROL_READY);
    }
    ck_assert(!seats.ending);
    dies(worker, FAKE_SIGNAL(SIGSEGV));
    ck_assert_uint_eq(down()->failed, 1);
    ck_assert_uint_eq(down()->model_changed, 0);
    ck_assert_int_eq(state(), STATUS_FAILED);
    ck_assert(seats.ending);
    ck_assert_int_eq(seats.exit_code, EXIT_CODE_RESTARTS);
}
END_TEST

START_TEST(failed_loads_count_too_and_are_not_attributable)
{
    for (int i = 0; i < 5; i++) {
        dies(worker, FAKE_EXIT(EXIT_CODE_MEMORY));
        ck_assert_uint_eq(down()->attributable, i == 0); /* the first one was ready */
        pass_alive(5 * SECOND);
    }
    ck_assert_int_eq(seats.exit_code, EXIT_CODE_RESTARTS);
}
END_TEST

static void crash_four_times(void)
{
    for (int i = 0; i < 4; i++) {
        dies(worker, FAKE_SIGNAL(SIGSEGV));
        pass_alive(5 * SECOND);
        say(worker, CONTROL_READY);
    }
}

START_TEST(what_happened_ten_minutes_ago_is_forgotten)
{
    crash_four_times();
    pass_alive(600 * SECOND);
    dies(worker, FAKE_SIGNAL(SIGSEGV));
    ck_assert(!seats.ending);
    pass_alive(0);
    ck_assert_int_ne(worker->pid, 0); /* and at once */
}
END_TEST

START_TEST(a_conviction_clears_the_engine_and_is_told_to_all)
{
    crash_four_times();
    const struct control_message conviction = { .kind = CONTROL_CONVICTED, .digest = { 7, 8, 9 } };
    seats_receive(&seats, frontend, &conviction, -1);
    ck_assert_int_eq(fake_count(frontend, CONTROL_CONVICTED), 0);
    ck_assert_uint_eq(fake_find(other, CONTROL_CONVICTED)->digest[1], 8);
    dies(worker, FAKE_SIGNAL(SIGSEGV));
    ck_assert(!seats.ending);

    dies(frontend, FAKE_SIGNAL(SIGKILL)); /* and to who comes later */
    pass_alive(0);
    ck_assert_uint_eq(fake_find(frontend, CONTROL_CONVICTED)->digest[2], 9);
}
END_TEST

START_TEST(a_kill_for_want_of_memory_is_the_engines_own_fault)
{
    fake.oom = true;
    dies(worker, FAKE_SIGNAL(SIGKILL));
    ck_assert_uint_eq(down()->attributable, 1);
    pass_alive(0);
    say(worker, CONTROL_READY);
    dies(worker, FAKE_SIGNAL(SIGKILL)); /* the counter stands still */
    ck_assert_uint_eq(down()->attributable, 0);
}
END_TEST

START_TEST(a_model_that_changed_ends_the_server)
{
    dies(worker, FAKE_SIGNAL(SIGKILL));
    pass(0);
    seats_receive(&seats, worker,
                  &(struct control_message){ .kind = CONTROL_FAILED,
                                             .exit_code = EXIT_CODE_MODEL,
                                             .model_changed = 1,
                                             .text = "changed" },
                  -1);
    dies(worker, FAKE_EXIT(EXIT_CODE_MODEL));
    ck_assert(down()->failed && down()->model_changed);
    ck_assert_int_eq(seats.exit_code, EXIT_CODE_RESTARTS);
}
END_TEST

START_TEST(who_breaks_rules_is_ended_and_no_request_is_blamed)
{
    const struct control_message report = { .kind = CONTROL_REPORT,
                                            .peer_role = CONTROL_ROLE_WORKER,
                                            .text = "its ring is broken" };
    seats_receive(&seats, frontend, &report, -1);
    bury_killed(worker);
    ck_assert_uint_eq(down()->attributable, 0);

    const struct control_message unknown = { .kind = CONTROL_REPORT,
                                             .peer_role = CONTROL_ROLE_FRONTEND,
                                             .peer = 99 };
    seats_receive(&seats, worker, &unknown, -1);
    ck_assert(!fake_was_killed(frontend) && !fake_was_killed(other));
    say(other, (enum control_kind)77);
    ck_assert(fake_was_killed(other));
}
END_TEST

/* --- weights ------------------------------------------------------------------------------ */

START_TEST(weights_stay_in_their_seat_until_a_start_with_them_fails)
{
    const struct control_message keep = { .kind = CONTROL_KEEP, .text = "notes" };
    seats_receive(&seats, worker, &keep, 55);
    ck_assert_int_eq(worker->kept_weights, 55);
    dies(worker, FAKE_SIGNAL(SIGSEGV)); /* ready: they are not to blame */
    ck_assert_int_eq(worker->kept_weights, 55);
    pass_alive(0);
    dies(worker, FAKE_SIGNAL(SIGKILL)); /* loading, but killed from outside */
    ck_assert_int_eq(worker->kept_weights, 55);
    pass_alive(SECOND);
    dies(worker, FAKE_EXIT(EXIT_CODE_MODEL)); /* loading, by itself */
    ck_assert_int_eq(worker->kept_weights, -1);
    ck_assert_str_eq(worker->kept.text, "notes");
}
END_TEST

/* --- starts that fail ----------------------------------------------------------------------- */

START_TEST(the_first_start_ends_with_the_code_of_the_one_that_failed)
{
    begin(1);
    seats_receive(&seats, worker,
                  &(struct control_message){ .kind = CONTROL_FAILED,
                                             .exit_code = EXIT_CODE_MEMORY,
                                             .text = "no memory, as this test wants it" },
                  -1);
    dies(worker, FAKE_EXIT(EXIT_CODE_MEMORY));
    ck_assert(seats.ending);
    ck_assert_int_eq(seats.exit_code, EXIT_CODE_MEMORY);
}
END_TEST

/* --- frontends ---------------------------------------------------------------------------- */

START_TEST(a_dead_frontend_is_replaced_and_its_requests_cancelled)
{
    const uint64_t generation = frontend->incarnation;
    dies(frontend, FAKE_SIGNAL(SIGKILL));
    ck_assert_uint_eq(fake_find(worker, CONTROL_FRONTEND_DOWN)->generation, generation);
    pass_alive(0);
    ck_assert_int_ne(frontend->pid, 0);
    ck_assert_int_eq(fake.num_joins, 3);
    ck_assert_ptr_null(fake_find(other, CONTROL_ENGINE_DOWN));
}
END_TEST

START_TEST(a_frontend_leaves_words_to_the_next_and_ends_all_when_the_model_changed)
{
    const struct control_message keep = { .kind = CONTROL_KEEP, .text = "files=1" };
    seats_receive(&seats, frontend, &keep, -1);
    dies(frontend, FAKE_SIGNAL(SIGKILL));
    ck_assert_str_eq(frontend->kept.text, "files=1");
    ck_assert_int_eq(frontend->kept_weights, -1);
    ck_assert_str_eq(other->kept.text, "");
    pass_alive(0);
    ck_assert(!seats.ending);
    seats_receive(&seats, frontend,
                  &(struct control_message){ .kind = CONTROL_FAILED,
                                             .exit_code = EXIT_CODE_MODEL,
                                             .model_changed = 1,
                                             .text = "other files, as this test wants it" },
                  -1);
    dies(frontend, FAKE_EXIT(EXIT_CODE_MODEL));
    ck_assert(seats.ending);
    ck_assert_int_eq(seats.exit_code, EXIT_CODE_RESTARTS);
}
END_TEST

START_TEST(a_frontend_that_dies_at_every_start_is_waited_for_and_given_up)
{
    int64_t waited = 0;
    for (int i = 0; i < 10; i++) {
        say(frontend, CONTROL_READY); /* being ready once is no proof */
        dies(frontend, FAKE_SIGNAL(SIGSEGV));
        if (i == 9)
            break;
        const int64_t from = fake.now_us;
        while (frontend->pid == 0)
            pass_alive(10000);
        waited = fake.now_us - from;
        ck_assert_int_le(waited, i < 2 ? 10000 : 5010000);
    }
    ck_assert_int_ge(waited, 5 * SECOND);
    ck_assert(seats.ending);
    ck_assert_int_eq(seats.exit_code, EXIT_CODE_RESTARTS);
}
END_TEST

START_TEST(a_frontend_that_lives_a_while_or_is_killed_from_outside_is_not_given_up)
{
    for (int i = 0; i < 30; i++) {
        const bool is_killed = i % 3 != 0;
        pass_alive(is_killed ? 0 : 5 * SECOND);
        dies(frontend, is_killed ? FAKE_SIGNAL(SIGKILL) : FAKE_SIGNAL(SIGSEGV));
        pass_alive(0);
        ck_assert_int_ne(frontend->pid, 0);
        fake_forget();
    }
}
END_TEST

START_TEST(a_frontend_that_starts_while_the_server_drains_drains_too)
{
    atomic_store(&own_page.state, STATUS_DRAINING);
    dies(frontend, FAKE_SIGNAL(SIGSEGV));
    pass_alive(0);
    ck_assert_ptr_nonnull(fake_find(frontend, CONTROL_DRAIN));
    dies(worker, FAKE_SIGNAL(SIGKILL));
    pass_alive(0);
    say(worker, CONTROL_READY);
    ck_assert_int_eq(state(), STATUS_DRAINING);
    say(other, CONTROL_DRAINED);
    ck_assert(!seats_all_drained(&seats));
    say(frontend, CONTROL_DRAINED);
    ck_assert(seats_all_drained(&seats));
}
END_TEST

RUN_SUITE_AROUND("seats", setup, NULL,
                 all_are_started_shown_to_each_other_and_joined_when_the_engine_is_ready,
                 a_killed_engine_is_replaced_at_once_and_blames_nobody,
                 an_engine_may_be_killed_from_outside_as_often_as_one_likes,
                 a_crash_is_attributable_to_what_was_computed,
                 crashes_are_answered_slower_and_slower_and_the_fifth_ends_the_engine,
                 failed_loads_count_too_and_are_not_attributable,
                 what_happened_ten_minutes_ago_is_forgotten,
                 a_conviction_clears_the_engine_and_is_told_to_all,
                 a_kill_for_want_of_memory_is_the_engines_own_fault,
                 a_model_that_changed_ends_the_server,
                 who_breaks_rules_is_ended_and_no_request_is_blamed,
                 weights_stay_in_their_seat_until_a_start_with_them_fails,
                 the_first_start_ends_with_the_code_of_the_one_that_failed,
                 a_dead_frontend_is_replaced_and_its_requests_cancelled,
                 a_frontend_leaves_words_to_the_next_and_ends_all_when_the_model_changed,
                 a_frontend_that_dies_at_every_start_is_waited_for_and_given_up,
                 a_frontend_that_lives_a_while_or_is_killed_from_outside_is_not_given_up,
                 a_frontend_that_starts_while_the_server_drains_drains_too)
