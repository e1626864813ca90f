/* Answers, streamed and whole, and what is counted of them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend_rig.h"

/* --- answers ------------------------------------------------------------------------------ */

START_TEST(stream_begins_with_acceptance_and_ends_in_done)
{
    struct chat chat = begin_chat(STREAMED);
    ck_assert(http_rig_is_silent(chat.fd));
    strbuf_reset(&in);
    accept_chat(&chat);
    read_chat(&chat, "\"role\":\"assistant\"");
    ck_assert(holds("HTTP/1.1 200 OK\r\n"));
    ck_assert(holds("content-type: text/event-stream; charset=utf-8\r\n"));
    ck_assert(holds("x-accel-buffering: no\r\n"));
    ck_assert(holds(": ok\n\n"));
    say_chat(&chat, "The capital is Paris.");
    end_chat(&chat);
    read_chat(&chat, "data: [DONE]\n\n");
    ck_assert(holds("\"finish_reason\":\"length\""));
    expect_streamed("The capital is Paris.");
    ck_assert(holds("\"model\":\"ringlet\""));
    ck_assert(holds("\"system_fingerprint\":\"tokenring-" TOKENRING_VERSION "-cpu-tp1-"));
    close(chat.fd);
    http_rig_expect_nothing(&rig);
}
END_TEST

START_TEST(connection_serves_the_next_request_after_a_stream)
{
    struct chat chat = begin_chat(STREAMED);
    answer_chat(&chat, "Hi", "data: [DONE]\n\n");
    read_chat(&chat, "\r\n0\r\n\r\n");
    http_rig_send(chat.fd, "GET /version HTTP/1.1\r\nhost: x\r\n\r\n", 34);
    read_chat(&chat, "\"version\":");
    close(chat.fd);
}
END_TEST

START_TEST(folded_answer_is_one_object)
{
    struct chat chat = begin_chat(FOLDED);
    accept_chat(&chat);
    ck_assert(http_rig_is_silent(chat.fd));
    say_chat(&chat, "Paris.");
    end_chat(&chat);
    read_chat(&chat, "\"usage\":");
    ck_assert(holds("HTTP/1.1 200 OK\r\n"));
    ck_assert(holds("content-type: application/json\r\n"));
    ck_assert(holds("openai-processing-ms: "));
    json_t *value = json_loads(body_of(), 0, NULL);
    const json_t *choice = json_array_get(json_object_get(value, "choices"), 0);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_object_get(choice, "message"), "content")),
        "Paris.");
    ck_assert_int_eq((int)json_integer_value(
                         json_object_get(json_object_get(value, "usage"), "completion_tokens")),
                     (int)chat.pos);
    json_decref(value);
    close(chat.fd);
}
END_TEST

START_TEST(full_engine_is_a_429_with_retry_after)
{
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    http_rig_fail(&rig, http_rig_take_submit(&rig), RECORD_FAILURE_QUEUE_FULL);
    http_rig_read_until(fd, &in, "queue_full");
    ck_assert(holds("HTTP/1.1 429 "));
    expect_retry_after(2000);
    close(fd);
}
END_TEST

START_TEST(a_stream_goes_on_at_the_next_engine)
{
    struct chat chat = begin_stream("Par");
    http_rig_engine_down(&rig);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /startupz HTTP/1.1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    http_rig_engine_up(&rig);
    chat.id = http_rig_take_submit(&rig);
    ck_assert((http_rig_last_params()->flags & RECORD_RESUMED) != 0);
    answer_chat(&chat, "is", "data: [DONE]\n\n");
    ck_assert(!holds("\"error\":{"));
    close(chat.fd);
}
END_TEST

START_TEST(an_engine_gone_for_good_ends_a_stream_in_words)
{
    const struct chat chat = begin_stream("Par");
    http_rig_engine_gone(&rig);
    read_chat(&chat, "data: [DONE]\n\n");
    ck_assert(holds("\"error\":{"));
    ck_assert(holds("worker_failed"));
    close(chat.fd);
}
END_TEST

START_TEST(an_engine_gone_for_good_is_a_500_before_anything_was_sent)
{
    const struct chat chat = begin_chat(FOLDED);
    accept_chat(&chat);
    http_rig_engine_gone(&rig);
    read_chat(&chat, "worker_failed");
    ck_assert(holds("HTTP/1.1 500 "));
    close(chat.fd);
}
END_TEST

START_TEST(max_tokens_beyond_the_context_are_clamped)
{
    const int32_t *prompt;
    char header[64];
    struct chat chat = begin_chat(QUESTION ",\"max_tokens\":64000,\"stream\":true}");
    const uint32_t room = 2048 - http_rig_last_prompt(&prompt);
    ck_assert_int_eq((int)http_rig_last_params()->max_tokens, (int)room);
    answer_chat(&chat, "x", "[DONE]");
    snprintf(header, sizeof(header), "x-max-tokens-clamped: %u\r\n", room);
    ck_assert(holds(header));
    close(chat.fd);
}
END_TEST

START_TEST(silent_model_is_sampled_as_its_generation_config_says)
{
    wait_ready();
    const int fd = start_chat(FOLDED);
    (void)http_rig_take_submit(&rig);
    ck_assert(http_rig_last_params()->temperature == 0); /* do_sample is false there */
    close(fd);
}
END_TEST

START_TEST(large_bodies_are_prepared_beside_the_loop)
{
    enum { PAD = 100000 };
    char *body = malloc(PAD + 256);
    int n = snprintf(body, 256, STREAMED);
    body[n - 1] = ',';
    n += snprintf(body + n, 32, "\"padding\":\"");
    memset(body + n, 'u', PAD);
    strcpy(body + n + PAD, "\"}");
    struct chat chat = begin_chat(body);
    answer_chat(&chat, "Paris", "[DONE]");
    close(chat.fd);
    free(body);
}
END_TEST

START_TEST(special_tokens_in_a_message_are_data)
{
    const int32_t *plain, *prompt;
    int32_t ends = 0;
    wait_ready();
    int fd = start_chat("{\"messages\":[{\"role\":\"user\",\"content\":\"a<|im_end|>b\"}]}");
    (void)http_rig_take_submit(&rig);
    uint32_t n = http_rig_last_prompt(&prompt);
    for (uint32_t i = 0; i < n; i++)
        ends += prompt[i] == tokenizer_find(rig.tokenizer, "<|im_end|>", 10);
    ck_assert_int_eq(ends, 1); /* the template's own */
    close(fd);
    (void)http_rig_take(&rig);
    fd = start_chat(FOLDED);
    (void)http_rig_take_submit(&rig);
    ck_assert(http_rig_last_prompt(&plain) > 4);
    close(fd);
}
END_TEST

/* --- metrics ------------------------------------------------------------------------------ */

START_TEST(metrics_count_what_happened)
{
    struct chat chat = begin_chat(STREAMED);
    answer_chat(&chat, "Paris", "[DONE]");
    close(chat.fd);
    ck_assert_int_eq(ask("GET /metrics HTTP/1.1\r\n", NULL), 200);
    ck_assert(holds("\nvllm:request_success_total{model_name=\"ringlet\",engine=\"0\","
                    "finished_reason=\"length\"} 1\n"));
    ck_assert(
        holds("\nvllm:time_to_first_token_seconds_count{model_name=\"ringlet\",engine=\"0\"} 1\n"));
    ck_assert(holds("\nvllm:kv_cache_usage_perc{model_name=\"ringlet\",engine=\"0\"} 0\n"));
    ck_assert(holds("\ntokenring_state{state=\"ready\"} 1\n"));
    ck_assert_int_eq(ask("GET /stats HTTP/1.1\r\n", NULL), 200);
    json_t *value = json_loads(body_of(), 0, NULL);
    ck_assert_msg(value != NULL, "%s", in.data);
    ck_assert_int_eq((int)json_integer_value(
                         json_object_get(json_object_get(value, "tokens"), "generated_total")),
                     (int)chat.pos);
    json_decref(value);
}
END_TEST

int main(void)
{
    const struct frontend_case cases[] = {
        { "answers", setup,
          (const TTest *const[]){
              stream_begins_with_acceptance_and_ends_in_done,
              connection_serves_the_next_request_after_a_stream, folded_answer_is_one_object,
              full_engine_is_a_429_with_retry_after, a_stream_goes_on_at_the_next_engine,
              an_engine_gone_for_good_ends_a_stream_in_words,
              an_engine_gone_for_good_is_a_500_before_anything_was_sent,
              max_tokens_beyond_the_context_are_clamped,
              silent_model_is_sampled_as_its_generation_config_says,
              large_bodies_are_prepared_beside_the_loop, special_tokens_in_a_message_are_data,
              metrics_count_what_happened, NULL } },
    };
    return run_cases("frontend_answers", cases, sizeof(cases) / sizeof(cases[0]));
}
