#include "frontend/session/session.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_rig.h"

static struct rig rig;
static struct rig_ask ask;

static void setup(void)
{
    rig_start(&rig, 64, 16384);
    rig_ask_init(&ask, &rig);
}

static void teardown(void)
{
    rig_finish(&rig);
}

/* ------------------------------------------------------------------ answers */

START_TEST(an_answer_is_accepted_started_text_finished_end)
{
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 1);
    rig_tokens(&rig, id, 0, 1, 2, (int32_t[]){ RIG_HELLO, RIG_WORLD });
    rig_tokens(&rig, id, 0, 3, 1, (int32_t[]){ RIG_EOS });
    rig_done(&rig, id, 0, RECORD_FINISH_EOS, 3, RIG_EOS);

    ck_assert_uint_eq(rig_drain(&rig), 5);

    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"Hello\" [256]\n"
                                       "text 0 \" world\" [257]\nfinished 0 stop\n"
                                       "end prompt=2 output=3 cached=1\nflush\n");
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(each_drained_batch_is_flushed_once)
{
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\nflush\n");
    rig_text(&rig, id, 0, 1, "ab");
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "text 0 \"a\" [97]\ntext 0 \"b\" [98]\nflush\n");
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "");
}
END_TEST

START_TEST(the_engine_gets_prompt_parameters_and_choices)
{
    const struct record_bounds bounds = { .vocab_size = RIG_VOCAB, .max_model_len = 1024 };
    const struct record_bias bias = { .token_id = 65, .bias = -3.5f };
    uint32_t bulk[1024];
    struct ring_cell cell;
    struct record_submit got;
    struct error err;
    ask.params.num_choices = 2;
    ask.params.seed_low = 42;
    ask.submit.biases = &bias;
    ask.submit.num_biases = 1;

    rig_submit(&rig, &ask);

    ck_assert_int_eq(rig_take(&rig, &cell, bulk, sizeof(bulk)), RECORD_SUBMIT);
    ck_assert_int_eq(record_submit_decode(bulk, cell.bulk_len, &bounds, &got, &err), 0);
    ck_assert_mem_eq(got.params, &ask.params, sizeof(ask.params));
    ck_assert_uint_eq(got.num_prompt, 2);
    ck_assert_int_eq(got.prompt[0], RIG_HELLO);
    ck_assert_int_eq(got.prompt[1], RIG_WORLD);
    ck_assert_uint_eq(got.num_choices, 2);
    ck_assert_uint_eq(got.choices[1].index, 1);
    ck_assert_uint_eq(got.choices[1].num_ids, 0);
    ck_assert_uint_eq(got.num_biases, 1);
    ck_assert_float_eq(got.biases[0].bias, -3.5f);
    ck_assert_int_eq(got.eos_ids[0], RIG_EOS);
}
END_TEST

START_TEST(a_character_in_two_tokens_comes_with_both)
{
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 1, 3, (int32_t[]){ 'a', RIG_NI_HEAD, RIG_NI_TAIL });
    rig_tokens(&rig, id, 0, 4, 1, (int32_t[]){ RIG_NI_HEAD });
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 4, -1);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"\xE4\xBD\xA0!\" [260 261]\n"
                     "text 0 \"\xEF\xBF\xBD\" [260]\nfinished 0 length\n"
                     "end prompt=2 output=4 cached=0\nflush\n");
}
END_TEST

START_TEST(special_tokens_have_no_text_unless_it_is_asked_for)
{
    const int32_t ids[] = { 'a', RIG_MARK, 'b' };
    for (int keep = 0; keep < 2; keep++) {
        ask.submit.keep_special_tokens = keep != 0;
        session_cancel(rig.session, rig_submit(&rig, &ask)); /* its cells do not matter below */
        struct ring_cell cell;
        while (rig_take(&rig, &cell, NULL, 0) != 0)
            ;
        rig_submit(&rig, &ask);
        const uint64_t id = rig_take_submit(&rig);
        rig_begin(&rig, id, 0);
        rig_tokens(&rig, id, 0, 1, 3, ids);
        rig_drain(&rig);
        ck_assert_str_eq(rig_events(&rig),
                         keep ? "accepted\nstarted\ntext 0 \"a\" [97]\n"
                                "text 0 \"<mark>\" [264]\ntext 0 \"b\" [98]\nflush\n"
                              : "accepted\nstarted\ntext 0 \"a\" [97]\n"
                                "text 0 \"b\" [264 98]\nflush\n");
    }
}
END_TEST

START_TEST(two_choices_are_told_apart)
{
    ask.params.num_choices = 2;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 1, 1, "x");
    rig_text(&rig, id, 0, 1, "ab");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 2, -1);
    rig_text(&rig, id, 1, 2, "y");
    rig_done(&rig, id, 1, RECORD_FINISH_LENGTH, 2, -1);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 1 \"x\" [120]\ntext 0 \"a\" [97]\n"
                     "text 0 \"b\" [98]\nfinished 0 length\ntext 1 \"y\" [121]\n"
                     "finished 1 length\nend prompt=2 output=4 cached=0\nflush\n");
}
END_TEST

START_TEST(nothing_is_said_before_every_prompt_is_accepted)
{
    struct ring_cell done = { .kind = RECORD_DONE };
    const struct record_done facts = {
        .reason = RECORD_FINISH_LENGTH, .prompt_tokens = 1, .output_tokens = 1, .stop_id = -1
    };
    ask.submit.num_prompts = 2;
    rig_submit(&rig, &ask);
    const uint64_t first = rig_take_submit(&rig), second = rig_take_submit(&rig);
    rig_begin(&rig, first, 1);
    rig_text(&rig, first, 0, 1, "a");
    rig_done(&rig, first, 0, RECORD_FINISH_LENGTH, 1, -1);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "");

    rig_begin(&rig, second, 0);
    rig_text(&rig, second, 0, 1, "b");
    done.id = second;
    memcpy(done.words, &facts, sizeof(facts));
    rig_say(&rig, done, NULL, 0);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"a\" [97]\nfinished 0 length\n"
                     "text 1 \"b\" [98]\nfinished 1 length\nend prompt=3 output=2 cached=1\n"
                     "flush\n");
}
END_TEST

START_TEST(a_refused_prompt_takes_the_accepted_ones_with_it)
{
    struct ring_cell failed = { .kind = RECORD_FAILED }, cell;
    ask.submit.num_prompts = 2;
    rig_submit(&rig, &ask);
    const uint64_t first = rig_take_submit(&rig);
    failed.id = rig_take_submit(&rig);
    failed.words[0] = RECORD_FAILURE_QUEUE_FULL;
    failed.words[1] = 1500;
    rig_accept(&rig, first);
    rig_say(&rig, failed, NULL, 0);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "failed queue_full\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, first);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0);
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
}
END_TEST

/* ------------------------------------------------------------------ stop strings */

START_TEST(a_stop_string_across_tokens_cuts_text_and_cancels)
{
    struct ring_cell cell;
    rig_ask_stop(&ask, "STOP");
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 1, 1, (int32_t[]){ RIG_ST });
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"x\" []\nflush\n");

    rig_tokens(&rig, id, 0, 2, 1, (int32_t[]){ RIG_OP });
    rig_tokens(&rig, id, 0, 3, 1, (int32_t[]){ 'z' }); /* the engine did not know yet */
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "finished 0 stop \"STOP\"\nend prompt=2 output=2 cached=0\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 3, -1);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(the_stop_string_is_kept_where_it_is_wanted)
{
    rig_ask_stop(&ask, "STOP");
    ask.submit.include_stop_in_output = true;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 1, 2, (int32_t[]){ RIG_ST, RIG_OP });
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"x\" []\ntext 0 \"STOP\" [258 259]\n"
                     "finished 0 stop \"STOP\"\nend prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(held_text_is_let_go_at_the_end_with_its_tokens)
{
    rig_ask_stop(&ask, "STOP");
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "aSTO");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 4, -1);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"STO\" [83 84 79]\n"
                     "finished 0 length\nend prompt=2 output=4 cached=0\nflush\n");
}
END_TEST

START_TEST(the_stop_string_that_begins_earliest_wins)
{
    rig_ask_stop(&ask, "OP");
    rig_ask_stop(&ask, "STOP");
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_tokens(&rig, id, 0, 1, 1, (int32_t[]){ RIG_STOPS });
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"a\" [262]\nfinished 0 stop \"STOP\"\n"
                     "end prompt=2 output=1 cached=0\nflush\n");
}
END_TEST

START_TEST(stop_strings_are_not_looked_for_before_min_tokens)
{
    rig_ask_stop(&ask, "b");
    ask.params.min_tokens = 3;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "abcab");
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"b\" [98]\n"
                     "text 0 \"c\" [99]\ntext 0 \"a\" [97]\nfinished 0 stop \"b\"\n"
                     "end prompt=2 output=5 cached=0\nflush\n");
}
END_TEST

START_TEST(a_choice_that_stopped_is_cancelled_alone_and_ignored)
{
    struct ring_cell cell;
    rig_ask_stop(&ask, "!");
    ask.params.num_choices = 2;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "a!bc");
    rig_text(&rig, id, 1, 1, "x");
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"a\" [97]\n"
                                       "finished 0 stop \"!\"\ntext 1 \"x\" [120]\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, id);
    ck_assert_uint_eq(cell.flags, RECORD_FLAG_CHOICE);
    ck_assert_uint_eq(cell.choice, 0);

    rig_tokens(&rig, id, 0, 5, 1, (int32_t[]){ 'd' }); /* was on its way */
    rig_done(&rig, id, 0, RECORD_FINISH_CANCELLED, 9, -1);
    rig_done(&rig, id, 1, RECORD_FINISH_LENGTH, 1, -1);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "finished 1 length\nend prompt=2 output=3 cached=0\nflush\n");
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

START_TEST(a_stop_id_ends_the_text_before_itself)
{
    ask.submit.stop_ids = stop_b;
    ask.submit.num_stop_ids = 1;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "ab");
    rig_done(&rig, id, 0, RECORD_FINISH_EOS, 2, 'b');
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"a\" [97]\n"
                                       "finished 0 stop id 98\n"
                                       "end prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(a_stop_id_is_shown_where_stops_are)
{
    ask.submit.stop_ids = stop_b;
    ask.submit.num_stop_ids = 1;
    ask.submit.include_stop_in_output = true;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 0, 1, "ab");
    rig_done(&rig, id, 0, RECORD_FINISH_EOS, 2, 'b');
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"a\" [97]\n"
                                       "text 0 \"b\" [98]\nfinished 0 stop id 98\n"
                                       "end prompt=2 output=2 cached=0\nflush\n");
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

/* ------------------------------------------------------------------ log-probabilities */

/* [n][1 + k] entries: the token itself at -1, alternatives of k lower values. */
static void say_logprobs(uint64_t id, uint8_t flags, uint32_t pos, uint32_t n, const int32_t *ids,
                         int32_t k)
{
    struct record_logprob entries[64];
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++)
        for (int32_t j = 0; j <= k; j++)
            entries[at++] = (struct record_logprob){ .token_id = j == 0 ? ids[i] : 64 + j,
                                                     .logprob = (float)-(j + 1),
                                                     .rank = 1 };
    rig_say(&rig,
            (struct ring_cell){ .kind = RECORD_LOGPROBS, .flags = flags, .id = id, .pos = pos },
            entries, at * (uint32_t)sizeof(entries[0]));
}

START_TEST(log_probabilities_come_with_the_text_of_their_tokens)
{
    const int32_t ids[] = { RIG_ST, 'q' };
    rig_ask_stop(&ask, "STOP");
    ask.params.num_logprobs = 2;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    say_logprobs(id, 0, 1, 2, ids, 2);
    rig_tokens(&rig, id, 0, 1, 1, ids);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"x\" []\nflush\n");

    rig_tokens(&rig, id, 0, 2, 1, ids + 1);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "text 0 \"STq\" [258:-1/65:-2/66:-3 113:-1/65:-2/66:-3]\nflush\n");
}
END_TEST

START_TEST(a_token_cut_in_part_keeps_its_entry_and_one_cut_whole_does_not)
{
    const int32_t ids[] = { RIG_ST, RIG_OP };
    rig_ask_stop(&ask, "STOP");
    ask.params.num_logprobs = 0;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    say_logprobs(id, 0, 1, 2, ids, 0);
    rig_tokens(&rig, id, 0, 1, 2, ids);
    rig_drain(&rig);

    /* "x" went out before its token was known to be cut, so the entry follows alone. */
    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\ntext 0 \"x\" []\ntext 0 \"\" [258:-1]\n"
                     "finished 0 stop \"STOP\"\nend prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(the_end_token_has_no_entry)
{
    const int32_t ids[] = { 'a', RIG_EOS };
    ask.params.num_logprobs = 0;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    say_logprobs(id, 0, 1, 2, ids, 0);
    rig_tokens(&rig, id, 0, 1, 2, ids);
    rig_done(&rig, id, 0, RECORD_FINISH_EOS, 2, RIG_EOS);
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"a\" [97:-1]\nfinished 0 stop\n"
                                       "end prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(echo_tells_the_prompt_once_for_each_choice)
{
    ask.submit.echo = true;
    ask.params.num_choices = 2;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_text(&rig, id, 1, 1, "!");
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "accepted\nstarted\nprompt 0 \"Hello world\" [256 257]\n"
                     "prompt 1 \"Hello world\" [256 257]\ntext 1 \"!\" [33]\nflush\n");
}
END_TEST

START_TEST(a_scored_prompt_waits_for_its_log_probabilities_and_has_no_output)
{
    const int32_t prompt[] = { RIG_HELLO, RIG_WORLD };
    struct ring_cell cell;
    ask.submit.echo = true;
    ask.params.max_tokens = 0;
    ask.params.num_prompt_logprobs = 1;
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    say_logprobs(id, RECORD_FLAG_PROMPT, 0, 1, (int32_t[]){ -1 }, 1);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\nflush\n");

    say_logprobs(id, RECORD_FLAG_PROMPT, 1, 1, prompt + 1, 1);
    rig_text(&rig, id, 0, 1, "z");
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig),
                     "prompt 0 \"Hello world\" [256 257:-1/65:-2]\nfinished 0 length\n"
                     "end prompt=2 output=0 cached=0\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

/* ------------------------------------------------------------------ cancelling */

START_TEST(a_cancelled_request_is_forgotten_here_and_there)
{
    struct ring_cell cell;
    struct session_request *request = rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    session_cancel(rig.session, request);

    rig_text(&rig, id, 0, 1, "a");
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "");
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
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"a\" [97]\n");
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
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\naccepted\nstarted\n"
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
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
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
    rig_drain(&rig);

    ck_assert_str_eq(rig_events(&rig), "");
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

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tc = tcase_create("session");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, an_answer_is_accepted_started_text_finished_end);
    tcase_add_test(tc, each_drained_batch_is_flushed_once);
    tcase_add_test(tc, the_engine_gets_prompt_parameters_and_choices);
    tcase_add_test(tc, a_character_in_two_tokens_comes_with_both);
    tcase_add_test(tc, special_tokens_have_no_text_unless_it_is_asked_for);
    tcase_add_test(tc, two_choices_are_told_apart);
    tcase_add_test(tc, nothing_is_said_before_every_prompt_is_accepted);
    tcase_add_test(tc, a_refused_prompt_takes_the_accepted_ones_with_it);
    tcase_add_test(tc, a_stop_string_across_tokens_cuts_text_and_cancels);
    tcase_add_test(tc, the_stop_string_is_kept_where_it_is_wanted);
    tcase_add_test(tc, held_text_is_let_go_at_the_end_with_its_tokens);
    tcase_add_test(tc, the_stop_string_that_begins_earliest_wins);
    tcase_add_test(tc, stop_strings_are_not_looked_for_before_min_tokens);
    tcase_add_test(tc, a_choice_that_stopped_is_cancelled_alone_and_ignored);
    tcase_add_test(tc, a_choice_that_stopped_is_cancelled_when_there_is_room_again);
    tcase_add_test(tc, a_stop_id_ends_the_text_before_itself);
    tcase_add_test(tc, a_stop_id_is_shown_where_stops_are);
    tcase_add_test(tc, masks_reach_the_engine_and_stay_for_the_next);
    tcase_add_test(tc, log_probabilities_come_with_the_text_of_their_tokens);
    tcase_add_test(tc, a_token_cut_in_part_keeps_its_entry_and_one_cut_whole_does_not);
    tcase_add_test(tc, the_end_token_has_no_entry);
    tcase_add_test(tc, echo_tells_the_prompt_once_for_each_choice);
    tcase_add_test(tc, a_scored_prompt_waits_for_its_log_probabilities_and_has_no_output);
    tcase_add_test(tc, a_cancelled_request_is_forgotten_here_and_there);
    tcase_add_test(tc, a_callback_may_cancel_its_own_request);
    tcase_add_test(tc, a_callback_may_cancel_another_request);
    tcase_add_test(tc, cancels_wait_for_room_and_come_before_later_submits);
    tcase_add_test(tc, an_engine_that_is_gone_for_good_fails_its_requests_after_what_it_had_said);
    tcase_add_test(tc, requests_go_to_the_engine_that_has_fewest);
    tcase_add_test(tc, an_engine_may_not_speak_of_the_requests_of_another);
    tcase_add_test(tc, without_an_engine_nothing_is_submitted);
    tcase_add_test(tc, what_never_fits_and_what_no_engine_takes_is_refused);
    tcase_add_test(tc, the_queue_is_full_when_the_engine_says_so);
    tcase_add_test(tc, a_sleeping_engine_is_woken_by_a_submit_and_only_then);
    tcase_add_test(tc, there_is_no_sleep_while_an_engine_has_spoken);
    tcase_add_test(tc, a_finished_request_is_counted_and_logged);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
