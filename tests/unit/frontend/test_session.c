#include "frontend/session/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "session_fixture.h"

/* ------------------------------------------------------------------ cancelling */

START_TEST(a_cancelled_request_is_forgotten_here_and_there)
{
    struct ring_cell cell;
    struct session_request *request = rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    session_cancel(rig.session, request);

    rig_text(&rig, id, 0, 1, "a");
    expect_events("");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
    ck_assert_uint_eq(rig_stat(&rig, STAT_SUCCESS_ABORT), 1);
}
END_TEST

START_TEST(a_callback_may_cancel_its_own_request)
{
    struct ring_cell cell;
    struct session_request *request = rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "abc");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 3, -1);
    rig.cancel_at_text = request;
    expect_events("accepted\nstarted\ntext 0 \"a\" [97]\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
}
END_TEST

START_TEST(a_callback_may_cancel_another_request)
{
    struct session_request *first = rig_submit(&rig, &ask);
    const uint64_t a = rig_take_submit(&rig);
    rig_submit(&rig, &ask);
    const uint64_t b = rig_take_submit(&rig);
    rig_begin(&rig, a, 0);
    rig_begin(&rig, b, 0);
    rig_text(&rig, b, 0, 1, "b");
    rig_text(&rig, a, 0, 1, "a");
    rig.cancel_at_text = first;
    expect_events("accepted\nstarted\naccepted\nstarted\n"
                  "text 0 \"b\" [98]\nflush\n");
    ck_assert_uint_eq(session_num_requests(rig.session), 1);
}
END_TEST

START_TEST(cancels_wait_for_room_and_come_before_later_submits)
{
    struct session_request *requests[64], *late = NULL;
    struct ring_cell cell;
    struct error err;
    for (int i = 0; i < 64; i++)
        requests[i] = rig_submit(&rig, &ask);
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &late, &err), -EAGAIN);
    for (int i = 0; i < 64; i++)
        session_cancel(rig.session, requests[i]);

    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_SUBMIT);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0);
    rig_drain(&rig);

    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    rig_submit(&rig, &ask);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_SUBMIT);
}
END_TEST

/* ------------------------------------------------------------------ engines */

START_TEST(an_engine_that_is_gone_for_good_fails_its_requests_after_what_it_had_said)
{
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 0, 1, "a");
    rig_engine_gone(&rig, 0);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"a\" [97]\nfailed worker_failed\nflush\n");
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
    ck_assert(!session_has_engine(rig.session));
    ck_assert_uint_eq(rig_stat(&rig, STAT_SUCCESS_ERROR), 1);
}
END_TEST

START_TEST(requests_go_to_the_engine_that_has_fewest)
{
    struct ring_cell cell;
    struct error err;
    rig_engine_up(&rig, 1, 64, 16384);
    for (int i = 0; i < 4; i++)
        rig_submit(&rig, &ask);

    for (int engine = 0; engine < 2; engine++) {
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(ring_pop(&rig.engine[engine], &cell, &err), 1);
        ck_assert_int_eq(ring_pop(&rig.engine[engine], &cell, &err), 0);
    }
}
END_TEST

START_TEST(an_engine_may_not_speak_of_the_requests_of_another)
{
    struct ring_cell cell;
    struct error err;
    rig_engine_up(&rig, 1, 64, 16384);
    rig_submit(&rig, &ask);
    rig_submit(&rig, &ask);
    ck_assert_int_eq(ring_pop(&rig.engine[1], &cell, &err), 1);
    rig_accept(&rig, cell.id); /* said by engine 0 */
    expect_events("");
    ck_assert_ptr_nonnull(strstr(rig_report(&rig), "belongs to engine 1"));
}
END_TEST

START_TEST(without_an_engine_nothing_is_submitted)
{
    struct session_request *request = NULL;
    struct session_limits limits;
    struct error err;
    ask.submit.prompts = ask.prompts;
    ask.submit.params = &ask.params;
    ck_assert(session_get_limits(rig.session, &limits));
    ck_assert_int_eq(limits.max_model_len, 1024);
    ck_assert_int_eq(limits.vocab_size, RIG_VOCAB);
    rig_engine_down(&rig, 0);

    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &request, &err), -ENOTCONN);
    ck_assert(session_get_limits(rig.session, &limits)); /* facts of the last one */
    rig_engine_up(&rig, 0, 64, 16384);
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &request, &err), 0);
}
END_TEST

START_TEST(what_never_fits_and_what_no_engine_takes_is_refused)
{
    static int32_t ids[4096];
    struct session_request *request = NULL;
    struct error err;
    session_cancel(rig.session, rig_submit(&rig, &ask)); /* points ask.submit into ask */
    ask.prompts[0] = (struct session_prompt){ ids, 4096 };
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &request, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "1024"));

    rig_engine_down(&rig, 0);
    rig_engine_up(&rig, 0, 64, 4096);
    ask.prompts[0].num_ids = 1000;
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &request, &err), -EMSGSIZE);
    ask.prompts[0].ids = (int32_t[]){ RIG_VOCAB };
    ask.prompts[0].num_ids = 1;
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &request, &err), -EINVAL);
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
}
END_TEST

START_TEST(the_queue_is_full_when_the_engine_says_so)
{
    ck_assert(!session_queue_is_full(rig.session));
    stat_set(rig.engine_page[0]->words, STAT_NUM_REQUESTS_WAITING, 32);
    ck_assert(session_queue_is_full(rig.session));
}
END_TEST

START_TEST(a_sleeping_engine_is_woken_by_a_submit_and_only_then)
{
    struct pollfd bell = { .fd = rig.doorbell[0], .events = POLLIN };
    rig_submit(&rig, &ask);
    ck_assert_int_eq(poll(&bell, 1, 0), 0);
    rig_take_submit(&rig);
    ck_assert(ring_prepare_sleep(&rig.engine[0]));
    rig_submit(&rig, &ask);
    ck_assert_int_eq(poll(&bell, 1, 0), 1);
}
END_TEST

START_TEST(there_is_no_sleep_while_an_engine_has_spoken)
{
    ck_assert(session_prepare_sleep(rig.session));
    session_end_sleep(rig.session);
    rig_submit(&rig, &ask);
    rig_accept(&rig, rig_take_submit(&rig));
    (void)ring_publish(&rig.engine[0]);
    ck_assert(!session_prepare_sleep(rig.session));
    rig_drain(&rig);
    ck_assert(session_prepare_sleep(rig.session));
    ck_assert(ring_publish(&rig.engine[0]) == false); /* nothing new to show */
}
END_TEST

/* ------------------------------------------------------------------ counting */

static char last_line[512];

static void keep_line(const char *line)
{
    snprintf(last_line, sizeof(last_line), "%s", line);
}

START_TEST(a_finished_request_is_counted_and_logged)
{
    session_set_log(rig.session, keep_line);
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 1);
    rig_text(&rig, id, 0, 1, "abc");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 3, -1);
    rig_drain(&rig);

    ck_assert_uint_eq(rig_stat(&rig, STAT_PROMPT_TOKENS), 2);
    ck_assert_uint_eq(rig_stat(&rig, STAT_GENERATION_TOKENS), 3);
    ck_assert_uint_eq(rig_stat(&rig, STAT_SUCCESS_LENGTH), 1);
    ck_assert_uint_eq(rig_stat(&rig, STAT_TTFT_SECONDS), 1);
    ck_assert_uint_eq(rig_stat(&rig, STAT_ITL_SECONDS), 2);
    ck_assert_uint_eq(rig_stat(&rig, STAT_E2E_SECONDS), 1);
    ck_assert_uint_eq(rig_stat(&rig, STAT_QUEUE_SECONDS), 1);
    ck_assert_uint_eq(rig_stat(&rig, STAT_PREFILL_SECONDS), 1);
    ck_assert_uint_eq(rig_stat(&rig, STAT_DECODE_SECONDS), 1);
    ck_assert_uint_eq(rig_stat(&rig, STAT_SUBMITS), 1);
    ck_assert_ptr_eq(strstr(last_line, "request id=req-1 prompt=2 cached=1 output=3 ttft_ms="),
                     last_line);
    ck_assert_ptr_nonnull(strstr(last_line, "reason=length"));
}
END_TEST

RUN_SUITE_AROUND(
    "session", setup, teardown, a_cancelled_request_is_forgotten_here_and_there,
    a_callback_may_cancel_its_own_request, a_callback_may_cancel_another_request,
    cancels_wait_for_room_and_come_before_later_submits,
    an_engine_that_is_gone_for_good_fails_its_requests_after_what_it_had_said,
    requests_go_to_the_engine_that_has_fewest, an_engine_may_not_speak_of_the_requests_of_another,
    without_an_engine_nothing_is_submitted, what_never_fits_and_what_no_engine_takes_is_refused,
    the_queue_is_full_when_the_engine_says_so, a_sleeping_engine_is_woken_by_a_submit_and_only_then,
    there_is_no_sleep_while_an_engine_has_spoken, a_finished_request_is_counted_and_logged)
