#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "session_fixture.h"

static uint32_t bulk[4096];
static struct record_submit told; /* by the SUBMIT taken last */

/* The engine takes a SUBMIT and reads it. */
static uint64_t take_told(void)
{
    static const struct record_bounds bounds = { RIG_VOCAB, 1024 };
    struct ring_cell cell;
    struct error err = { 0 };
    ck_assert_int_eq(rig_take(&rig, &cell, bulk, sizeof(bulk)), RECORD_SUBMIT);
    ck_assert_msg(record_submit_decode(bulk, cell.bulk_len, &bounds, &told, &err) == 0, "%s",
                  err.message);
    return cell.id;
}

static void expect_nothing_told(void)
{
    struct ring_cell cell;
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0);
}

static void restart(void)
{
    rig_engine_down(&rig, 0);
    rig_engine_up(&rig, 0, 64, 1 << 16);
}

static void expect(const char *events)
{
    ck_assert_str_eq(rig_events(&rig), events);
}

/* A request of which the engine said `text`. */
static uint64_t begin(const char *text)
{
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 1);
    rig_text(&rig, id, 0, 1, text);
    return id;
}

START_TEST(a_request_goes_on_behind_what_it_has)
{
    uint64_t id = begin("ab");
    restart();
    expect("accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"b\" [98]\nflush\n");

    id = take_told();
    ck_assert_uint_eq(told.num_prompt, 2);
    ck_assert_int_eq(told.prompt[0], RIG_HELLO);
    ck_assert_uint_eq(told.num_choices, 1);
    ck_assert_uint_eq(told.choices[0].num_ids, 2);
    ck_assert_int_eq(told.choices[0].ids[1], 'b');
    ck_assert(told.params->flags == RECORD_RESUMED);
    rig_begin(&rig, id, 2);
    rig_text(&rig, id, 0, 3, "c");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 3, -1);
    rig_drain(&rig);
    expect("text 0 \"c\" [99]\nfinished 0 length\nend prompt=2 output=3 cached=1\nflush\n");
    ck_assert_uint_eq(rig_stat(&rig, STAT_SUBMITS), 2);
}
END_TEST

START_TEST(each_is_told_once_and_not_again)
{
    begin("a");
    restart();
    take_told();
    for (int i = 0; i < 3; i++) {
        rig_drain(&rig);
        rig_tick(&rig, clock_now_us());
    }
    expect_nothing_told();
    ck_assert_uint_eq(session_num_held(rig.session), 0);
}
END_TEST

START_TEST(it_outlives_one_engine_after_another)
{
    begin("a");
    for (int i = 0; i < 5; i++) {
        restart();
        const uint64_t id = take_told();
        ck_assert_uint_eq(told.choices[0].num_ids, (uint32_t)i + 1);
        rig_begin(&rig, id, 0);
        rig_text(&rig, id, 0, (uint32_t)i + 2, "b");
    }
    rig_drain(&rig);
    ck_assert_ptr_nonnull(strstr(rig_events(&rig), "text 0 \"b\" [98]\nflush\n"));
}
END_TEST

START_TEST(an_engine_that_never_spoke_changes_nothing)
{
    begin("a");
    restart();
    restart();
    rig_engine_down(&rig, 0);
    rig_engine_down(&rig, 0); /* dead while it loaded */
    rig_engine_up(&rig, 0, 64, 1 << 16);
    take_told();
    ck_assert_uint_eq(told.choices[0].num_ids, 1);
    expect_nothing_told();
}
END_TEST

START_TEST(text_that_is_held_back_stays_held_back)
{
    const int32_t first = RIG_ST, second = RIG_OP;
    struct ring_cell cell;
    rig_ask_stop(&ask, "STOP");
    rig_submit(&rig, &ask);
    uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 1, 1, &first);
    restart();
    expect("accepted\nstarted\ntext 0 \"x\" []\nflush\n");

    id = take_told();
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 2, 1, &second);
    rig_drain(&rig);
    expect("finished 0 stop \"STOP\"\nend prompt=2 output=2 cached=0\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
}
END_TEST

START_TEST(half_a_character_waits_for_its_other_half)
{
    const int32_t head = RIG_NI_HEAD, tail = RIG_NI_TAIL;
    rig_submit(&rig, &ask);
    uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 1, 1, &head);
    restart();
    expect("accepted\nstarted\nflush\n");
    id = take_told();
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 2, 1, &tail);
    rig_drain(&rig);
    expect("text 0 \"\xE4\xBD\xA0!\" [260 261]\nflush\n");
}
END_TEST

START_TEST(a_choice_that_ended_is_not_told_again)
{
    ask.params.num_choices = 2;
    rig_submit(&rig, &ask);
    uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "a");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 1, -1);
    rig_text(&rig, id, 1, 1, "bc");
    restart();
    rig_events(&rig);

    id = take_told();
    ck_assert_uint_eq(told.num_choices, 1);
    ck_assert_uint_eq(told.choices[0].index, 1);
    ck_assert_uint_eq(told.choices[0].num_ids, 2);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 1, 3, "d");
    rig_done(&rig, id, 1, RECORD_FINISH_LENGTH, 3, -1);
    rig_drain(&rig);
    expect("text 1 \"d\" [100]\nfinished 1 length\nend prompt=2 output=4 cached=0\nflush\n");
}
END_TEST

START_TEST(an_end_that_the_engine_did_not_get_to_say_is_known)
{
    const int32_t eos = RIG_EOS;
    const uint64_t id = begin("a");
    rig_tokens(&rig, id, 0, 2, 1, &eos);
    ask.params.max_tokens = 2;
    const uint64_t full = begin("bc");
    ck_assert_uint_ne(id, full);
    restart();
    const char *events = rig_events(&rig);
    ck_assert_ptr_nonnull(strstr(events, "finished 0 stop\nend prompt=2 output=2 cached=1\n"));
    ck_assert_ptr_nonnull(strstr(events, "finished 0 length\nend prompt=2 output=2 cached=1\n"));
    expect_nothing_told();
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
}
END_TEST

START_TEST(a_request_cancelled_meanwhile_is_not_told)
{
    struct session_request *request = rig_submit(&rig, &ask);
    rig_take_submit(&rig);
    rig_submit(&rig, &ask);
    const uint64_t other = rig_take_submit(&rig);
    rig_engine_down(&rig, 0);
    session_cancel(rig.session, request);
    rig_engine_up(&rig, 0, 64, 1 << 16);
    ck_assert_uint_eq(take_told(), other);
    expect_nothing_told();
    ck_assert_uint_eq(session_num_requests(rig.session), 1);
}
END_TEST

START_TEST(a_callback_may_cancel_while_the_engine_goes_down)
{
    struct session_request *first = rig_submit(&rig, &ask);
    rig_take_submit(&rig);
    rig.cancel_at_text = first;
    begin("a");
    restart();
    take_told();
    expect_nothing_told();
    ck_assert_uint_eq(session_num_requests(rig.session), 1);
}
END_TEST

START_TEST(the_oldest_goes_first_as_there_is_room_and_new_ones_wait)
{
    enum { NUM = 150, CELLS = 16 };
    static uint64_t ids[NUM];
    struct session_request *late = NULL;
    struct error err;
    int num = 0;
    for (int i = 0; i < NUM; i++) {
        rig_submit(&rig, &ask);
        ids[i] = rig_take_submit(&rig);
    }
    rig_engine_down(&rig, 0);
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &late, &err), -ENOTCONN);
    rig_engine_up(&rig, 0, CELLS, 1 << 16);
    for (int turn = 0; turn < 100 && num < NUM; turn++) {
        if (session_num_held(rig.session) > 0)
            ck_assert_int_eq(session_submit(rig.session, &ask.submit, &late, &err), -EAGAIN);
        for (int i = 0; i < CELLS && num < NUM; i++) {
            ck_assert_uint_eq(take_told(), ids[num++]);
            rig_accept(&rig, ids[num - 1]);
        }
        expect_nothing_told();
        rig_drain(&rig);
    }
    ck_assert_int_eq(num, NUM);
    ck_assert_uint_eq(session_num_held(rig.session), 0);
    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &late, &err), 0);
}
END_TEST

START_TEST(there_is_no_sleep_while_more_could_be_told)
{
    for (int i = 0; i < 100; i++) {
        rig_submit(&rig, &ask);
        rig_take_submit(&rig);
    }
    rig_engine_down(&rig, 0);
    ck_assert(session_prepare_sleep(rig.session)); /* nobody to tell */
    session_end_sleep(rig.session);
    rig_engine_up(&rig, 0, 128, 1 << 16);
    ck_assert_uint_eq(session_num_held(rig.session), 36); /* a turn of the loop is bounded */
    ck_assert(!session_prepare_sleep(rig.session));
    rig_drain(&rig);
    ck_assert_uint_eq(session_num_held(rig.session), 0);
    ck_assert(session_prepare_sleep(rig.session));
}
END_TEST

START_TEST(what_is_held_too_long_or_past_its_deadline_fails)
{
    const int64_t now = clock_now_us();
    const uint64_t deadline = (uint64_t)now + 30 * 1000000;
    begin("a");
    ask.params.deadline_low = (uint32_t)deadline;
    ask.params.deadline_high = (uint32_t)(deadline >> 32);
    begin("b");
    rig_engine_down(&rig, 0);
    rig_events(&rig);
    rig_tick(&rig, now + 29 * 1000000);
    expect("");
    rig_tick(&rig, now + 31 * 1000000);
    expect("failed deadline_exceeded\nflush\n");
    rig_tick(&rig, now + 119 * 1000000);
    expect("");
    rig_tick(&rig, now + 200 * 1000000);
    expect("failed worker_failed\nflush\n");
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
    rig_engine_up(&rig, 0, 64, 1 << 16);
    expect_nothing_told();
}
END_TEST

START_TEST(what_is_held_fails_when_nobody_will_come)
{
    begin("a");
    rig_engine_down(&rig, 0);
    rig_events(&rig);
    rig_engine_gone(&rig, 0); /* the successor died, too */
    expect("failed worker_failed\nflush\n");
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
}
END_TEST

START_TEST(another_model_does_not_continue_what_the_first_began)
{
    begin("a");
    rig_engine_down(&rig, 0);
    rig_events(&rig);
    rig.identity = 4711;
    rig_engine_up(&rig, 0, 64, 1 << 16);
    expect("failed model_changed\n");
    expect_nothing_told();
}
END_TEST

START_TEST(log_probabilities_ahead_of_their_tokens_come_again)
{
    const struct record_logprob both[] = { { 'a', -1.0f, 1 }, { 'b', -2.0f, 1 } };
    const struct ring_cell cell = { .kind = RECORD_LOGPROBS, .pos = 1, .count = 2 };
    ask.params.num_logprobs = 0;
    rig_submit(&rig, &ask);
    uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    struct ring_cell say = cell;
    say.id = id;
    rig_say(&rig, say, both, sizeof(both));
    rig_text(&rig, id, 0, 1, "a");
    restart();
    expect("accepted\nstarted\ntext 0 \"a\" [97:-1]\nflush\n");

    id = take_told();
    rig_begin(&rig, id, 0);
    say.id = id;
    say.pos = 2;
    say.count = 1;
    rig_say(&rig, say, both + 1, sizeof(both[0]));
    rig_text(&rig, id, 0, 2, "b");
    rig_drain(&rig);
    expect("text 0 \"b\" [98:-2]\nflush\n");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

static void say_prompt_logprobs(uint64_t id)
{
    const struct record_logprob entry = { RIG_WORLD, -3.0f, 1 };
    const struct ring_cell cell = {
        .kind = RECORD_LOGPROBS, .flags = RECORD_FLAG_PROMPT, .id = id, .pos = 1, .count = 1
    };
    rig_say(&rig, cell, &entry, sizeof(entry));
}

START_TEST(an_echoed_prompt_is_scored_again_but_not_told_again)
{
    ask.submit.echo = true;
    ask.params.num_prompt_logprobs = 0;
    rig_submit(&rig, &ask);
    uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    say_prompt_logprobs(id);
    restart();
    expect("accepted\nstarted\nprompt 0 \"Hello world\" [256 257:-3]\nflush\n");

    id = take_told();
    rig_begin(&rig, id, 0);
    say_prompt_logprobs(id);
    rig_text(&rig, id, 0, 1, "a");
    restart();
    expect("text 0 \"a\" [97]\nflush\n");

    id = take_told(); /* it has output: nothing is scored */
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 2, "b");
    rig_drain(&rig);
    expect("text 0 \"b\" [98]\nflush\n");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(a_prompt_that_was_through_waits_for_the_other_one)
{
    ask.submit.num_prompts = 2;
    ask.prompts[1] = ask.prompts[0];
    rig_submit(&rig, &ask);
    const uint64_t a = rig_take_submit(&rig);
    uint64_t b = rig_take_submit(&rig);
    rig_begin(&rig, a, 0);
    rig_text(&rig, a, 0, 1, "a");
    rig_done(&rig, a, 0, RECORD_FINISH_LENGTH, 1, -1);
    restart();
    expect("");
    ck_assert_uint_eq(take_told(), b);
    expect_nothing_told();
    rig_begin(&rig, b, 0);
    rig_text(&rig, b, 0, 1, "b");
    rig_done(&rig, b, 0, RECORD_FINISH_LENGTH, 1, -1);
    rig_drain(&rig);
    expect("accepted\nstarted\ntext 0 \"a\" [97]\nfinished 0 length\ntext 1 \"b\" [98]\n"
           "finished 1 length\nend prompt=4 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(a_broken_ring_costs_no_request)
{
    uint64_t id = begin("a");
    rig_drain(&rig);
    rig_text(&rig, id, 0, 4, "z"); /* a gap */
    rig_drain(&rig);
    ck_assert_ptr_nonnull(rig_report(&rig));
    rig_events(&rig);
    restart();
    id = take_told();
    ck_assert_uint_eq(told.choices[0].num_ids, 1);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 2, "b");
    rig_drain(&rig);
    expect("text 0 \"b\" [98]\nflush\n");
}
END_TEST

RUN_SUITE_AROUND("recover", setup, teardown, a_request_goes_on_behind_what_it_has,
                 each_is_told_once_and_not_again, it_outlives_one_engine_after_another,
                 an_engine_that_never_spoke_changes_nothing, text_that_is_held_back_stays_held_back,
                 half_a_character_waits_for_its_other_half, a_choice_that_ended_is_not_told_again,
                 an_end_that_the_engine_did_not_get_to_say_is_known,
                 a_request_cancelled_meanwhile_is_not_told,
                 a_callback_may_cancel_while_the_engine_goes_down,
                 the_oldest_goes_first_as_there_is_room_and_new_ones_wait,
                 there_is_no_sleep_while_more_could_be_told,
                 what_is_held_too_long_or_past_its_deadline_fails,
                 what_is_held_fails_when_nobody_will_come,
                 another_model_does_not_continue_what_the_first_began,
                 log_probabilities_ahead_of_their_tokens_come_again,
                 an_echoed_prompt_is_scored_again_but_not_told_again,
                 a_prompt_that_was_through_waits_for_the_other_one, a_broken_ring_costs_no_request)
