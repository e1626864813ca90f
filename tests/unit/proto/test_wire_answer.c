/* Streams and objects, byte by byte. */
#include <check.h>

#include "tests/unit/proto/answer_rig.h"
#include "tests/unit/runner.h"

START_TEST(chat_stream_is_role_content_finish_done)
{
    begin();
    say(ANSWER_ACCEPTED);
    expect_out("");
    say(ANSWER_STARTED);
    expect_out(HEAD ROLE("0") "]}\n\n");
    say_text(0, "Hi");
    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
                    "\"finish_reason\":null}]}\n\n");
    say_text(0, "");
    expect_out("");
    say_text(0, "a \"q\"\n\xc3\xa4\x01");
    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"a \\\"q\\\"\\n\xc3\xa4\\u0001\"},"
                    "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":null}]}\n\n");
    ck_assert(!wire_answer_is_complete(answer));
    say(ANSWER_END);
    expect_out(DONE);
    ck_assert(wire_answer_is_complete(answer));
    ck_assert_ptr_null(wire_answer_failure(answer));
    say(ANSWER_END);
    expect_out("");
}
END_TEST

START_TEST(usage_is_null_until_the_last_chunk)
{
    options.include_usage = true;
    begin();
    say(ANSWER_STARTED);
    expect_out(HEAD ROLE("0") "],\"usage\":null}\n\n");
    say_text(0, "Hi");
    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
                    "\"finish_reason\":null}],\"usage\":null}\n\n");
    say_finished(0, ANSWER_FINISH_LENGTH);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\","
                    "\"stop_reason\":null}],\"usage\":null}\n\n");
    say(ANSWER_END);
    expect_out(HEAD "]," USAGE "}\n\n" DONE);
}
END_TEST

START_TEST(continuous_usage_is_in_every_chunk)
{
    options.continuous_usage = true;
    options.include_usage = true;
    begin();
    say_text(0, "Hi");
    expect_out(HEAD ROLE("0") "]," USAGE "}\n\n" HEAD
                              "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
                              "\"finish_reason\":null}]," USAGE "}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    strbuf_reset(&out);
    say(ANSWER_END);
    expect_out(HEAD "]," USAGE "}\n\n" DONE);
}
END_TEST

START_TEST(roles_of_all_choices_come_before_any_content)
{
    options.num_choices = 3;
    begin();
    say_text(2, "Hi"); /* as if STARTED had been missed */
    expect_out(HEAD ROLE("0") "]}\n\n" HEAD ROLE("1") "]}\n\n" HEAD ROLE(
        "2") "]}\n\n" HEAD "{\"index\":2,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
             "\"finish_reason\":null}]}\n\n");
    say(ANSWER_STARTED);
    expect_out("");
}
END_TEST

START_TEST(stop_reason_tells_what_matched)
{
    struct answer_event event = event_of(ANSWER_FINISHED, 0);
    options.num_choices = 2;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);
    event.stop_text = "a\"b";
    event.stop_text_len = 3;
    wire_answer_event(answer, &event, &out);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":\"a\\\"b\"}]}\n\n");
    event = event_of(ANSWER_FINISHED, 1);
    event.stop_id = 42;
    wire_answer_event(answer, &event, &out);
    expect_out(HEAD "{\"index\":1,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":42}]}\n\n");
}
END_TEST

START_TEST(chat_object_is_whole)
{
    options.stream = false;
    options.num_choices = 2;
    options.service_tier = true;
    begin();
    say(ANSWER_STARTED);
    say_text(1, "yes");
    say_text(0, "Hi");
    say_text(0, " there");
    say_finished(1, ANSWER_FINISH_LENGTH);
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out("");
    say(ANSWER_END);
    expect_out("{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,"
               "\"model\":\"ringlet\",\"system_fingerprint\":\"fp\",\"service_tier\":\"default\","
               "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi "
               "there\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\","
               "\"stop_reason\":null},{\"index\":1,\"message\":{\"role\":\"assistant\","
               "\"content\":\"yes\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":"
               "\"length\",\"stop_reason\":null}]," USAGE "}");
}
END_TEST

START_TEST(completions_stream_has_no_role)
{
    options.endpoint = WIRE_COMPLETIONS;
    options.include_usage = true;
    begin();
    say(ANSWER_STARTED);
    expect_out("");
    say_text(0, "Hi");
    expect_out(TEXT_HEAD "{\"index\":0,\"text\":\"Hi\",\"logprobs\":null,\"finish_reason\":null}],"
                         "\"usage\":null}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out(TEXT_HEAD "{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\","
                         "\"stop_reason\":null}],\"usage\":null}\n\n");
    say(ANSWER_END);
    expect_out(TEXT_HEAD "]," USAGE "}\n\n" DONE);
}
END_TEST

START_TEST(completions_object_is_whole)
{
    options.endpoint = WIRE_COMPLETIONS;
    options.stream = false;
    begin();
    say_tokens(ANSWER_PROMPT, 0, "Q:", NULL, 0);
    say_text(0, "Hi");
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    expect_out("{\"id\":\"chatcmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,"
               "\"model\":\"ringlet\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,"
               "\"text\":\"Q:Hi\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":"
               "null}]," USAGE "}");
}
END_TEST

#define WORKER_ERROR                                                                               \
    "{\"error\":{\"message\":\"The process that computed this request ended (request req-7).\","   \
    "\"type\":\"server_error\",\"param\":null,\"code\":\"worker_failed\"}}"

START_TEST(failed_stream_ends_in_an_error_and_done)
{
    struct answer_event event = event_of(ANSWER_FAILED, 0);
    event.failure = RECORD_FAILURE_WORKER;
    begin();
    say_text(0, "Hi");
    strbuf_reset(&out);

    wire_answer_event(answer, &event, &out);

    expect_out("data: " WORKER_ERROR "\n\n" DONE);
    ck_assert(wire_answer_is_complete(answer));
    wire_answer_event(answer, &event, &out);
    say_text(0, "more");
    say(ANSWER_END);
    expect_out("");
}
END_TEST

START_TEST(failed_fold_writes_nothing_and_tells_why)
{
    struct answer_event event = event_of(ANSWER_FAILED, 0);
    event.failure = RECORD_FAILURE_QUEUE_FULL;
    event.retry_after_ms = 1500;
    options.stream = false;
    begin();
    say_text(0, "Hi");

    wire_answer_event(answer, &event, &out);

    expect_out("");
    ck_assert(wire_answer_is_complete(answer));
    ck_assert_int_eq(wire_answer_failure(answer)->code, WIRE_QUEUE_FULL);
    ck_assert_uint_eq(wire_answer_failure(answer)->retry_after_ms, 1500);
}
END_TEST

START_TEST(end_without_a_reason_for_each_choice_is_an_error)
{
    options.num_choices = 2;
    begin();
    say_finished(0, ANSWER_FINISH_STOP);
    strbuf_reset(&out);

    say(ANSWER_END);

    ck_assert_ptr_nonnull(strstr(out.data, "\"code\":\"internal_error\""));
    ck_assert_ptr_nonnull(strstr(out.data, DONE));
}
END_TEST

START_TEST(own_error_closes_the_stream)
{
    struct wire_error error;
    wire_error_set(&error, WIRE_DRAINING, "", "This server stops.");
    begin();

    wire_answer_error(answer, &error, &out);

    expect_out("data: {\"error\":{\"message\":\"This server stops.\",\"type\":"
               "\"service_unavailable_error\",\"param\":null,\"code\":\"draining\"}}\n\n" DONE);
    wire_answer_error(answer, &error, &out);
    expect_out("");
}
END_TEST

START_TEST(lack_of_memory_is_told_at_any_length)
{
    const struct answer_token token = token_of(HI, -0.5f);
    size_t whole = 1;
    options.logprobs = options.include_usage = true;
    for (size_t limit = 1; limit <= whole; limit++) {
        strbuf_finish(&out);
        out.limit = limit > 1 ? limit : 0; /* the first turn measures */
        begin();
        say(ANSWER_STARTED);
        say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);
        say_finished(0, ANSWER_FINISH_STOP);
        say(ANSWER_END);
        if (limit == 1)
            whole = out.len;
        ck_assert_int_eq(out.failed, limit > 1 && limit < whole);
        wire_answer_destroy(answer);
        answer = NULL;
    }
    ck_assert_uint_gt(whole, 500);
}
END_TEST

RUN_SUITE_AROUND("wire_answer", setup, teardown, chat_stream_is_role_content_finish_done,
                 usage_is_null_until_the_last_chunk, continuous_usage_is_in_every_chunk,
                 roles_of_all_choices_come_before_any_content, stop_reason_tells_what_matched,
                 chat_object_is_whole, completions_stream_has_no_role, completions_object_is_whole,
                 failed_stream_ends_in_an_error_and_done, failed_fold_writes_nothing_and_tells_why,
                 end_without_a_reason_for_each_choice_is_an_error, own_error_closes_the_stream,
                 lack_of_memory_is_told_at_any_length)
