#include "frontend/session/session.h"

#include <string.h>

#include "session_fixture.h"

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
    const uint64_t id = begin_answer();
    expect_events("accepted\nstarted\nflush\n");
    rig_text(&rig, id, 0, 1, "ab");
    expect_events("text 0 \"a\" [97]\ntext 0 \"b\" [98]\nflush\n");
    expect_events("");
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
    const uint64_t id = begin_answer();
    rig_tokens(&rig, id, 0, 1, 3, (int32_t[]){ 'a', RIG_NI_HEAD, RIG_NI_TAIL });
    rig_tokens(&rig, id, 0, 4, 1, (int32_t[]){ RIG_NI_HEAD });
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 4, -1);
    expect_events("accepted\nstarted\ntext 0 \"a\" [97]\ntext 0 \"\xE4\xBD\xA0!\" [260 261]\n"
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
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 1, 1, "x");
    rig_text(&rig, id, 0, 1, "ab");
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 2, -1);
    rig_text(&rig, id, 1, 2, "y");
    rig_done(&rig, id, 1, RECORD_FINISH_LENGTH, 2, -1);
    expect_events("accepted\nstarted\ntext 1 \"x\" [120]\ntext 0 \"a\" [97]\n"
                  "text 0 \"b\" [98]\nfinished 0 length\ntext 1 \"y\" [121]\n"
                  "finished 1 length\nend prompt=2 output=4 cached=0\nflush\n");
}
END_TEST

START_TEST(nothing_is_said_before_every_prompt_is_accepted)
{
    ask.submit.num_prompts = 2;
    rig_submit(&rig, &ask);
    const uint64_t first = rig_take_submit(&rig), second = rig_take_submit(&rig);
    rig_begin(&rig, first, 1);
    rig_text(&rig, first, 0, 1, "a");
    rig_done(&rig, first, 0, RECORD_FINISH_LENGTH, 1, -1);
    expect_events("");

    rig_begin(&rig, second, 0);
    rig_text(&rig, second, 0, 1, "b");
    rig.prompt_tokens = 1;
    rig_done(&rig, second, 0, RECORD_FINISH_LENGTH, 1, -1);
    expect_events("accepted\nstarted\ntext 0 \"a\" [97]\nfinished 0 length\n"
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
    expect_events("failed queue_full\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_uint_eq(cell.id, first);
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), 0);
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
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
    const uint64_t id = begin_answer();
    say_logprobs(id, 0, 1, 2, ids, 2);
    rig_tokens(&rig, id, 0, 1, 1, ids);
    expect_events("accepted\nstarted\ntext 0 \"x\" []\nflush\n");

    rig_tokens(&rig, id, 0, 2, 1, ids + 1);
    expect_events("text 0 \"STq\" [258:-1/65:-2/66:-3 113:-1/65:-2/66:-3]\nflush\n");
}
END_TEST

START_TEST(a_token_cut_in_part_keeps_its_entry_and_one_cut_whole_does_not)
{
    const int32_t ids[] = { RIG_ST, RIG_OP };
    rig_ask_stop(&ask, "STOP");
    ask.params.num_logprobs = 0;
    const uint64_t id = begin_answer();
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
    const uint64_t id = begin_answer();
    say_logprobs(id, 0, 1, 2, ids, 0);
    rig_tokens(&rig, id, 0, 1, 2, ids);
    rig_done(&rig, id, 0, RECORD_FINISH_EOS, 2, RIG_EOS);
    expect_events("accepted\nstarted\ntext 0 \"a\" [97:-1]\nfinished 0 stop\n"
                  "end prompt=2 output=2 cached=0\nflush\n");
}
END_TEST

START_TEST(echo_tells_the_prompt_once_for_each_choice)
{
    ask.submit.echo = true;
    ask.params.num_choices = 2;
    const uint64_t id = begin_answer();
    rig_text(&rig, id, 1, 1, "!");
    expect_events("accepted\nstarted\nprompt 0 \"Hello world\" [256 257]\n"
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
    const uint64_t id = begin_answer();
    say_logprobs(id, RECORD_FLAG_PROMPT, 0, 1, (int32_t[]){ -1 }, 1);
    expect_events("accepted\nstarted\nflush\n");

    say_logprobs(id, RECORD_FLAG_PROMPT, 1, 1, prompt + 1, 1);
    rig_text(&rig, id, 0, 1, "z");
    expect_events("prompt 0 \"Hello world\" [256 257:-1/65:-2]\nfinished 0 length\n"
                  "end prompt=2 output=0 cached=0\nflush\n");
    ck_assert_int_eq(rig_take(&rig, &cell, NULL, 0), RECORD_CANCEL);
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

RUN_SUITE_AROUND("session_text", setup, teardown, an_answer_is_accepted_started_text_finished_end,
                 each_drained_batch_is_flushed_once, the_engine_gets_prompt_parameters_and_choices,
                 a_character_in_two_tokens_comes_with_both,
                 special_tokens_have_no_text_unless_it_is_asked_for, two_choices_are_told_apart,
                 nothing_is_said_before_every_prompt_is_accepted,
                 a_refused_prompt_takes_the_accepted_ones_with_it,
                 log_probabilities_come_with_the_text_of_their_tokens,
                 a_token_cut_in_part_keeps_its_entry_and_one_cut_whole_does_not,
                 the_end_token_has_no_entry, echo_tells_the_prompt_once_for_each_choice,
                 a_scored_prompt_waits_for_its_log_probabilities_and_has_no_output)
