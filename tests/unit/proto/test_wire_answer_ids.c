/* What an answer says of its prompt and of token ids. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "tests/unit/proto/answer_rig.h"
#include "tests/unit/runner.h"

/* Prompt <s> b of which b has a value and the alternatives given, one without id. */
static void say_prompt(void)
{
    static const struct record_logprob top[] = { { BANG, -0.25f, 1 },
                                                 { B, -2.0f, 2 },
                                                 { -1, -INFINITY, 0 } };
    struct answer_token tokens[2] = { token_of(BOS, 0.0f), token_of(B, -2.0f) };
    tokens[0].has_logprob = false;
    tokens[1].rank = 2;
    tokens[1].top = top;
    tokens[1].num_top = 3;
    say_tokens(ANSWER_PROMPT, 0, "b", tokens, 2);
}

static const int32_t prompt_ids[] = { BOS, B };
static const struct wire_prompt prompt_of_ids = { .ids = prompt_ids, .num_ids = 2 };

START_TEST(prompt_logprobs_are_keyed_by_id_and_are_no_text)
{
    options.stream = false;
    options.prompt_logprobs = true;
    options.num_prompt_top = 3;
    begin();
    say_prompt();
    say_text(0, "Hi");
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data, "\"content\":\"Hi\""));
    ck_assert_ptr_nonnull(
        strstr(out.data, "}},\"prompt_logprobs\":[null,{"
                         "\"10\":{\"logprob\":-2.0,\"rank\":2,\"decoded_token\":\"b\"},"
                         "\"4\":{\"logprob\":-0.25,\"rank\":1,\"decoded_token\":\"!\"}}]}"));
}
END_TEST

START_TEST(prompt_logprobs_of_a_completion_stand_in_its_choice_too)
{
    options.endpoint = WIRE_COMPLETIONS;
    options.stream = false;
    options.prompt_logprobs = options.echo = true;
    begin();
    say_prompt();
    say_text(0, "Hi");
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data,
                                 "\"text\":\"bHi\",\"logprobs\":null,\"prompt_logprobs\":[null,{"
                                 "\"10\":{\"logprob\":-2.0,\"rank\":2,\"decoded_token\":\"b\"}}],"
                                 "\"finish_reason\""));
}
END_TEST

START_TEST(token_ids_ride_in_every_chunk_and_the_prompts_in_the_first)
{
    const struct answer_token hi = token_of(HI, 0.0f), end = token_of(END_TOKEN, 0.0f);
    options.return_token_ids = true;
    options.prompts = &prompt_of_ids;
    options.num_prompts = 1;
    begin();
    say(ANSWER_STARTED);
    ck_assert_ptr_nonnull(strstr(out.data, "\"fp\",\"prompt_token_ids\":[8,10],\"choices\":["));
    strbuf_reset(&out);
    say_tokens(ANSWER_TEXT, 0, "Hi", &hi, 1);
    ck_assert_ptr_nonnull(
        strstr(out.data, "{\"content\":\"Hi\"},\"logprobs\":null,\"token_ids\":[0],"));
    ck_assert_ptr_null(strstr(out.data, "prompt_token_ids"));
    strbuf_reset(&out);
    struct answer_event event = event_of(ANSWER_FINISHED, 0);
    event.tokens = &end;
    event.num_tokens = 1;
    wire_answer_event(answer, &event, &out);
    ck_assert_ptr_nonnull(strstr(out.data, "\"token_ids\":[5],\"finish_reason\":\"stop\""));
}
END_TEST

START_TEST(token_ids_of_the_whole_are_those_of_all_chunks)
{
    const struct answer_token hi = token_of(HI, 0.0f), end = token_of(END_TOKEN, 0.0f);
    options.endpoint = WIRE_COMPLETIONS;
    options.stream = false;
    options.return_token_ids = true;
    options.prompts = &prompt_of_ids;
    options.num_prompts = 1;
    begin();
    say_tokens(ANSWER_TEXT, 0, "Hi", &hi, 1);
    say_tokens(ANSWER_TEXT, 0, "Hi", &hi, 1);
    struct answer_event event = event_of(ANSWER_FINISHED, 0);
    event.tokens = &end;
    event.num_tokens = 1;
    wire_answer_event(answer, &event, &out);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data, "\"text\":\"HiHi\",\"logprobs\":null,\"token_ids\":"
                                           "[0,0,5],\"prompt_token_ids\":[8,10],\"finish"));
}
END_TEST

RUN_SUITE_AROUND("wire_answer_ids", setup, teardown,
                 prompt_logprobs_are_keyed_by_id_and_are_no_text,
                 prompt_logprobs_of_a_completion_stand_in_its_choice_too,
                 token_ids_ride_in_every_chunk_and_the_prompts_in_the_first,
                 token_ids_of_the_whole_are_those_of_all_chunks)
