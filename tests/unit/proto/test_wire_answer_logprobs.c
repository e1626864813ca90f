/* Log-probabilities as chat and completions write them. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/proto/answer_rig.h"
#include "tests/unit/runner.h"

START_TEST(chat_logprobs_ride_with_their_text)
{
    const struct record_logprob top[] = { { THERE, -0.25f, 0 }, { ZH_1, -INFINITY, 1 } };
    struct answer_token token = token_of(HI, -0.5f);
    token.top = top;
    token.num_top = 2;
    options.logprobs = true;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);

    say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);

    expect_out(HEAD
               "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":{\"content\":[{\"token\":"
               "\"Hi\",\"logprob\":-0.5,\"bytes\":[72,105],\"top_logprobs\":[{\"token\":\" "
               "there\",\"logprob\":-0.25,\"bytes\":[32,116,104,101,114,101]},{\"token\":"
               "\"\xef\xbf\xbd\",\"logprob\":-9999.0,\"bytes\":[228,184]}]}],\"refusal\":null},"
               "\"finish_reason\":null}]}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":null}]}\n\n");
}
END_TEST

START_TEST(tokens_of_one_character_come_with_it)
{
    const struct answer_token tokens[] = { token_of(ZH_1, -1.0f), token_of(ZH_2, -0.1f) };
    options.logprobs = true;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);

    say_tokens(ANSWER_TEXT, 0, "\xe4\xb8\xad", tokens, 2);

    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"\xe4\xb8\xad\"},\"logprobs\":{"
                    "\"content\":[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-1.0,\"bytes\":[228,184],"
                    "\"top_logprobs\":[]},{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.1,\"bytes\":"
                    "[173],\"top_logprobs\":[]}],\"refusal\":null},\"finish_reason\":null}]}\n\n");
}
END_TEST

START_TEST(token_without_text_has_a_chunk_of_its_own)
{
    const struct answer_token token = token_of(BOS, -2.0f);
    options.logprobs = true;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);

    say_tokens(ANSWER_TEXT, 0, "", &token, 1);

    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":{\"content\":[{\"token\":\"<s>\","
                    "\"logprob\":-2.0,\"bytes\":[60,115,62],\"top_logprobs\":[]}],\"refusal\":null}"
                    ",\"finish_reason\":null}]}\n\n");
}
END_TEST

START_TEST(choice_without_tokens_has_an_empty_list)
{
    options.logprobs = true;
    options.stream = false;
    begin();
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data, "\"logprobs\":{\"content\":[],\"refusal\":null}"));
}
END_TEST

START_TEST(completions_logprobs_are_four_lists_over_echo)
{
    const struct record_logprob top[] = { { B, -0.125f, 0 }, { THERE, -3.0f, 1 } };
    struct answer_token prompt[] = { token_of(BOS, 0.0f), token_of(B, 0.0f),
                                     token_of(THERE, -0.75f) };
    struct answer_token output = token_of(SPACE_B, -4.5f);
    prompt[0].has_logprob = false;
    prompt[1].has_logprob = false;
    output.top = top;
    output.num_top = 2;
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_PROMPT, 0, "b there", prompt, 3);
    expect_out(TEXT_HEAD
               "{\"index\":0,\"text\":\"b there\",\"logprobs\":{\"tokens\":[\"<s>\",\"b\",\" "
               "there\"],\"token_logprobs\":[null,null,-0.75],\"top_logprobs\":[null,null,{\" "
               "there\":-0.75}],\"text_offset\":[0,0,1]},\"finish_reason\":null}]}\n\n");
    say_tokens(ANSWER_TEXT, 0, " b", &output, 1);
    expect_out(TEXT_HEAD
               "{\"index\":0,\"text\":\" b\",\"logprobs\":{\"tokens\":[\" b\"],"
               "\"token_logprobs\":[-4.5],\"top_logprobs\":[{\"b\":-0.125,\" there\":-3.0,"
               "\" b\":-4.5}],\"text_offset\":[7]},\"finish_reason\":null}]}\n\n");
}
END_TEST

START_TEST(alternatives_that_look_alike_keep_the_likeliest)
{
    const struct record_logprob top[] = { { ZH_1, -0.5f, 0 }, { EMOJI_1, -1.5f, 1 } };
    struct answer_token token = token_of(BAD, -2.0f); /* all three are U+FFFD */
    token.top = top;
    token.num_top = 2;
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_TEXT, 0, "\xef\xbf\xbd", &token, 1);

    ck_assert_ptr_nonnull(strstr(out.data, "\"top_logprobs\":[{\"\xef\xbf\xbd\":-0.5}]"));
}
END_TEST

START_TEST(tokens_can_be_spelled_as_ids)
{
    const struct record_logprob top[] = { { B, -0.5f, 0 } };
    struct answer_token token = token_of(HI, -2.0f);
    token.top = top;
    token.num_top = 1;
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = options.return_token_ids_as_text = true;
    begin();

    say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);

    ck_assert_ptr_nonnull(
        strstr(out.data, "\"tokens\":[\"token_id:0\"],\"token_logprobs\":[-2.0],\"top_logprobs\":["
                         "{\"token_id:10\":-0.5,\"token_id:0\":-2.0}]"));
}
END_TEST

static void expect_offsets(const char *list)
{
    char text[128];
    snprintf(text, sizeof(text), "\"text_offset\":[%s]", list);
    ck_assert_msg(strstr(out.data, text) != NULL, "wanted %s in %s", text, out.data);
    strbuf_reset(&out);
}

START_TEST(offsets_count_characters_across_chunks)
{
    const struct answer_token zh[] = { token_of(ZH_1, 0), token_of(ZH_2, 0), token_of(BANG, 0) };
    const struct answer_token held = token_of(END_TOKEN, 0);
    const struct answer_token broken[] = { token_of(EMOJI_1, 0), token_of(BANG, 0) };
    const struct answer_token cut = token_of(THERE, 0);
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_TEXT, 0, "\xe4\xb8\xad!", zh, 3);
    expect_offsets("0,0,1");
    say_text(0, " E"); /* the rest is held back: it may become a stop string */
    strbuf_reset(&out);
    say_tokens(ANSWER_TEXT, 0, "ND", &held, 1);
    expect_offsets("2");
    say_tokens(ANSWER_TEXT, 0, "\xef\xbf\xbd!", broken, 2);
    expect_offsets("6,7");
    say_tokens(ANSWER_TEXT, 0, " th", &cut, 1); /* a stop string took the rest */
    expect_offsets("8");
}
END_TEST

START_TEST(offsets_recover_from_a_space_that_a_text_does_not_begin_with)
{
    const struct answer_token tokens[] = { token_of(BOS, 0), token_of(THERE, 0),
                                           token_of(BANG, 0) };
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_PROMPT, 0, "there!", tokens, 3);

    expect_offsets("0,0,5");
}
END_TEST

START_TEST(logprobs_are_written_short_and_exact)
{
    static const struct {
        float value;
        const char *text;
    } rows[] = { { -0.1f, "-0.1" },
                 { -1.0f, "-1.0" },
                 { 0.0f, "0.0" },
                 { -0.0f, "0.0" },
                 { 1e-9f, "0.0" },
                 { NAN, "-9999.0" },
                 { -INFINITY, "-9999.0" },
                 { -20000.0f, "-9999.0" },
                 { -1e-7f, "-1e-07" },
                 { -3.4028235f, "-3.4028234" },
                 { -12.345678f, "-12.345678" } };
    options.logprobs = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct answer_token token = token_of(HI, rows[i].value);
        char text[64];
        begin();
        say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);
        snprintf(text, sizeof(text), "\"logprob\":%s,", rows[i].text);
        ck_assert_msg(strstr(out.data, text) != NULL, "%s: %s", text, out.data);
        strbuf_reset(&out);
        wire_answer_destroy(answer);
        answer = NULL;
    }
}
END_TEST

RUN_SUITE_AROUND("wire_answer_logprobs", setup, teardown, chat_logprobs_ride_with_their_text,
                 tokens_of_one_character_come_with_it, token_without_text_has_a_chunk_of_its_own,
                 choice_without_tokens_has_an_empty_list,
                 completions_logprobs_are_four_lists_over_echo,
                 alternatives_that_look_alike_keep_the_likeliest, tokens_can_be_spelled_as_ids,
                 offsets_count_characters_across_chunks,
                 offsets_recover_from_a_space_that_a_text_does_not_begin_with,
                 logprobs_are_written_short_and_exact)
