#include "frontend/session/session.h"

#include "session_fixture.h"

/* ------------------------------------------------------------------ stop strings */

START_TEST(a_stop_string_across_tokens_cuts_text_and_cancels)
{
    struct ring_cell cell;
    rig_ask_stop(&ask, "STOP");
    const uint64_t id = begin_answer();
    rig_tokens(&rig, id, 0, 1, 1, (int32_t[]){ RIG_ST });
    expect_events("accepted\nstarted\ntext 0 \"x\" []\nflush\n");

    rig_tokens(&rig, id, 0, 2, 1, (int32_t[]){ RIG_OP });
    rig_tokens(&rig, id, 0, 3, 1, (int32_t[]){ 'z' }); /* the engine did not know yet */
    expect_events("finished 0 stop \"STOP\"\nend prompt=2 output=2 cached=0\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 3, -1);
    expect_events("");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(the_stop_string_is_kept_where_it_is_wanted)
{
    rig_ask_stop(&ask, "STOP");
    ask.submit.include_stop_in_output = true;
    const uint64_t id = begin_answer();
    rig_tokens(&rig, id, 0, 1, 2, (int32_t[]){ RIG_ST, RIG_OP });
    expect_events("accepted\nstarted\ntext 0 \"x\" []\ntext 0 \"STOP\" [258 259]\n"
                  "finished 0 stop \"STOP\"\nend prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(held_text_is_let_go_at_the_end_with_its_tokens)
{
    rig_ask_stop(&ask, "STOP");
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 0, 1, "aSTO");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 4, -1);
    expect_events("accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"STO\" [83 84 79]\n"
                  "finished 0 length\nend prompt=2 output=4 cached=0\nflush\n");
}
END_TEST

START_TEST(the_stop_string_that_begins_earliest_wins)
{
    rig_ask_stop(&ask, "OP");
    rig_ask_stop(&ask, "STOP");
    const uint64_t id = begin_answer();
    rig_tokens(&rig, id, 0, 1, 1, (int32_t[]){ RIG_STOPS });
    expect_events("accepted\nstarted\ntext 0 \"a\" [262]\nfinished 0 stop \"STOP\"\n"
                  "end prompt=2 output=1 cached=0\nflush\n");
}
END_TEST

START_TEST(stop_strings_are_not_looked_for_before_min_tokens)
{
    rig_ask_stop(&ask, "b");
    ask.params.min_tokens = 3;
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 0, 1, "abcab");
    expect_events("accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"b\" [98]\n"
                  "text 0 \"c\" [99]\ntext 0 \"a\" [97]\nfinished 0 stop \"b\"\n"
                  "end prompt=2 output=5 cached=0\nflush\n");
}
END_TEST

START_TEST(a_choice_that_stopped_is_cancelled_alone_and_ignored)
{
    struct ring_cell cell;
    rig_ask_stop(&ask, "!");
    ask.params.num_choices = 2;
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 0, 1, "a!bc");
    rig_text(&rig, id, 1, 1, "x");
    expect_events("accepted\nstarted\ntext 0 \"a\" [97]\n"
                  "finished 0 stop \"!\"\ntext 1 \"x\" [120]\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
    ck_assert_uint_eq(cell.flags, RECORD_FLAG_CHOICE);
    ck_assert_uint_eq(cell.choice, 0);

    rig_tokens(&rig, id, 0, 5, 1, (int32_t[]){ 'd' }); /* was on its way */
    rig_done(&rig, id, 0, RECORD_FINISH_CANCELLED, 9, -1);
    rig_done(&rig, id, 1, RECORD_FINISH_LENGTH, 1, -1);
    expect_events("finished 1 length\nend prompt=2 output=3 cached=0\nflush\n");
    ck_assert_ptr_null(rig_report(&rig));
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0); /* nothing is left there */
}
END_TEST

START_TEST(a_choice_that_stopped_is_cancelled_when_there_is_room_again)
{
    struct session_request *late;
    struct ring_cell cell;
    struct error err;
    ask.params.num_choices = 3;
    rig_ask_stop(&ask, "!");
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    for (int i = 0; i < 64; i++)
        rig_submit(&rig, &ask); /* the ring is full */
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "a!");
    rig_text(&rig, id, 1, 1, "b!");
    rig_drain(&rig);
    rig_done(&rig, id, 1, RECORD_FINISH_CANCELLED, 2, -1); /* needs no telling any more */
    rig_drain(&rig);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_SUBMIT);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0);

    ck_assert_int_eq(session_submit(rig.session, &ask.submit, &late, &err), 0);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
    ck_assert_uint_eq(cell.flags, RECORD_FLAG_CHOICE);
    ck_assert_uint_eq(cell.choice, 0);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_SUBMIT);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0);
}
END_TEST

static const int32_t stop_b[] = { 'b' };

/* The engine ends "ab" by its stop id: these events come of it. */
static void expect_of_stop_id(const char *events)
{
    ask.submit.stop_ids = stop_b;
    ask.submit.num_stop_ids = 1;
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 0, 1, "ab");
    rig_done(&rig, id, 0, RECORD_FINISH_EOS, 2, 'b');
    expect_events(events);
}

START_TEST(a_stop_id_ends_the_text_before_itself)
{
    expect_of_stop_id("accepted\nstarted\ntext 0 \"a\" [97]\nfinished 0 stop id 98\n"
                      "end prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(a_stop_id_is_shown_where_stops_are)
{
    ask.submit.include_stop_in_output = true;
    expect_of_stop_id("accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"b\" [98]\n"
                      "finished 0 stop id 98\nend prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(masks_reach_the_engine_and_stay_for_the_next)
{
    static const int32_t allowed[] = { 'a', 'b', 'c' }, words[] = { 2, 'a', 'b', 1, 'z' };
    uint32_t bulk[256];
    struct record_submit got;
    const struct record_bounds bounds = { RIG_VOCAB, 1 << 20 };
    struct ring_cell cell;
    ask.submit.stop_ids = stop_b;
    ask.submit.num_stop_ids = 1;
    ask.submit.allowed_ids = allowed;
    ask.submit.num_allowed_ids = 3;
    ask.submit.bad_words = words;
    ask.submit.bad_words_len = 5;
    rig_submit(&rig, &ask);
    for (int engine = 0; engine < 2; engine++) {
        ck_assert_int_eq(rig_take(&rig, &cell, bulk, sizeof(bulk)), RECORD_SUBMIT);
        ck_assert_int_eq(record_submit_decode(bulk, cell.bulk_len, &bounds, &got, NULL), 0);
        ck_assert_uint_eq(got.num_stop_ids, 1);
        ck_assert_int_eq(got.stop_ids[0], 'b');
        ck_assert_uint_eq(got.num_allowed_ids, 3);
        ck_assert_mem_eq(got.allowed_ids, allowed, sizeof(allowed));
        ck_assert_uint_eq(got.bad_words_len, 5);
        ck_assert_mem_eq(got.bad_words, words, sizeof(words));
        if (engine == 0) {
            rig_engine_down(&rig, 0);
            rig_engine_up(&rig, 0, 64, 65536);
        }
    }
}
END_TEST

RUN_SUITE_AROUND("session_stop", setup, teardown, a_stop_string_across_tokens_cuts_text_and_cancels,
                 the_stop_string_is_kept_where_it_is_wanted,
                 held_text_is_let_go_at_the_end_with_its_tokens,
                 the_stop_string_that_begins_earliest_wins,
                 stop_strings_are_not_looked_for_before_min_tokens,
                 a_choice_that_stopped_is_cancelled_alone_and_ignored,
                 a_choice_that_stopped_is_cancelled_when_there_is_room_again,
                 a_stop_id_ends_the_text_before_itself, a_stop_id_is_shown_where_stops_are,
                 masks_reach_the_engine_and_stay_for_the_next)
