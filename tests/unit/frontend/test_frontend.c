/* The HTTP process as clients, engine and supervisor see it. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_rig.h"
#include "proto/records/stats.h"
#include "shm/doorbell.h"

#define QUESTION                                                                                   \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]"
#define STREAMED QUESTION ",\"stream\":true}"
#define FOLDED   QUESTION "}"
#define CHAT     "/v1/chat/completions"

static struct http_rig rig;
static struct strbuf in;

static void begin(const char *const *options)
{
    in = (struct strbuf){ 0 };
    http_rig_start(&rig, options);
}

static void setup_loading(void)
{
    begin((const char *const[]){ "--served-model-name", "ringlet,org/other", "--log-level=error",
                                 NULL });
}

static void setup(void)
{
    setup_loading();
    http_rig_engine_up(&rig);
}

static void setup_keys(void)
{
    begin((const char *const[]){ "--api-key", "secret-key-1", "--log-level=error", NULL });
    http_rig_engine_up(&rig);
}

static void setup_impatient(void)
{
    begin((const char *const[]){ "--slow-client-timeout=1", "--sse-keep-alive-interval=1",
                                 "--body-timeout=1", "--keep-alive-timeout=2", "--log-level=error",
                                 NULL });
    http_rig_engine_up(&rig);
}

static void teardown(void)
{
    strbuf_finish(&in);
    http_rig_finish(&rig);
}

static int ask(const char *head, const char *body)
{
    return http_rig_ask(&rig, head, body, &in);
}

static const char *body_of(void)
{
    const char *end = strstr(in.data, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    return end + 4;
}

static bool holds(const char *text)
{
    return in.data != NULL && strstr(in.data, text) != NULL;
}

/* Has the error of the last answer this code? */
static void expect_error(const char *code)
{
    json_t *value = json_loads(body_of(), 0, NULL);
    json_t *error = json_object_get(value, "error");
    ck_assert_msg(json_is_object(error), "%s", in.data);
    ck_assert_msg(strcmp(json_string_value(json_object_get(error, "code")), code) == 0, "%s",
                  in.data);
    ck_assert_int_eq((int)json_object_size(error), 4);
    json_decref(value);
}

static long number_behind(const char *name)
{
    const char *at = strstr(in.data, name);
    ck_assert_msg(at != NULL, "no %s in %s", name, in.data);
    return strtol(at + strlen(name), NULL, 10);
}

/* Both headers name that time, a fifth more or less. */
static void expect_retry_after(long ms)
{
    const long told = number_behind("retry-after-ms: ");
    ck_assert_int_ge(told, ms * 8 / 10);
    ck_assert_int_le(told, ms * 12 / 10);
    ck_assert_int_eq(number_behind("retry-after: "), (told + 999) / 1000);
}

/* The contents of all chunks, joined. */
static void expect_streamed(const char *text)
{
    struct strbuf joined = { 0 };
    for (const char *at = in.data; (at = strstr(at, "data: {")) != NULL; at++) {
        json_t *chunk = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, NULL);
        const json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
        const char *piece =
            json_string_value(json_object_get(json_object_get(choice, "delta"), "content"));
        ck_assert_msg(chunk != NULL, "%s", at);
        strbuf_append_text(&joined, piece != NULL ? piece : "");
        json_decref(chunk);
    }
    ck_assert_str_eq(joined.data, text);
    strbuf_finish(&joined);
}

/* Wait until the engine of http_rig_engine_up() is known: the frontend answers by itself. */
static void wait_ready(void)
{
    for (int i = 0; i < 1000; i++, usleep(5000))
        if (ask("GET /readyz HTTP/1.1\r\n", NULL) == 200)
            return;
    ck_abort_msg("the frontend does not get ready");
}

static int start_chat(const char *body)
{
    const int fd = http_rig_connect(&rig);
    http_rig_post(fd, CHAT, body);
    return fd;
}

/* --- while loading ------------------------------------------------------------------------ */

START_TEST(loading_server_is_alive_and_not_ready)
{
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /startupz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /health HTTP/1.1\r\n", NULL), 503);
    ck_assert(holds("\"model_loaded\":false"));
    ck_assert(holds("\"status\":\"loading\""));
    expect_error("model_loading");
}
END_TEST

START_TEST(loading_server_lists_its_models)
{
    ck_assert_int_eq(ask("GET /v1/models HTTP/1.1\r\n", NULL), 200);
    ck_assert(holds("\"id\":\"ringlet\""));
    ck_assert(holds("\"id\":\"org/other\""));
    ck_assert(holds("\"tokenring_status\":\"loading\""));
}
END_TEST

START_TEST(loading_server_refuses_with_a_time_to_come_back)
{
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\n", FOLDED), 503);
    expect_error("model_loading");
    ck_assert(holds("retry-after: "));
    ck_assert_int_eq((int)http_rig_stat(&rig, STAT_REJECTED_LOADING), 1);
}
END_TEST

/* --- the table of paths ------------------------------------------------------------------- */

START_TEST(unknown_path_is_a_json_404)
{
    ck_assert_int_eq(ask("GET /v1/nothing%00%ff HTTP/1.1\r\n", NULL), 404);
    expect_error("not_found");
    ck_assert_int_eq(ask("POST " CHAT "/more HTTP/1.1\r\n", FOLDED), 404);
}
END_TEST

START_TEST(wrong_method_is_405_with_allow)
{
    ck_assert_int_eq(ask("GET " CHAT " HTTP/1.1\r\n", NULL), 405);
    expect_error("method_not_allowed");
    ck_assert(holds("allow: POST, OPTIONS\r\n"));
    ck_assert_int_eq(ask("DELETE /v1/models HTTP/1.1\r\n", NULL), 405);
}
END_TEST

START_TEST(head_has_headers_and_no_body)
{
    ck_assert_int_eq(ask("HEAD /v1/models HTTP/1.1\r\n", NULL), 200);
    ck_assert_str_eq(body_of(), "");
    ck_assert(holds("\r\nContent-Length: "));
}
END_TEST

START_TEST(preflight_needs_no_key_and_echoes_what_was_asked)
{
    ck_assert_int_eq(ask("OPTIONS " CHAT " HTTP/1.1\r\norigin: https://a.example\r\n"
                         "access-control-request-method: POST\r\n"
                         "access-control-request-headers: authorization, x-stainless-os\r\n",
                         NULL),
                     204);
    ck_assert(holds("access-control-allow-origin: *\r\n"));
    ck_assert(holds("access-control-allow-headers: authorization, x-stainless-os\r\n"));
    ck_assert(holds("access-control-max-age: 86400\r\n"));
}
END_TEST

START_TEST(request_id_comes_back_and_a_bad_one_is_replaced)
{
    ck_assert_int_eq(ask("GET /version HTTP/1.1\r\nx-request-id: mine-42\r\n", NULL), 200);
    ck_assert(holds("x-request-id: mine-42\r\n"));
    ck_assert_int_eq(ask("GET /version HTTP/1.1\r\nx-request-id: a b\r\n", NULL), 200);
    ck_assert(holds("x-request-id: req-"));
}
END_TEST

START_TEST(page_is_for_browsers_and_json_for_others)
{
    ck_assert_int_eq(ask("GET / HTTP/1.1\r\naccept: text/html,*/*\r\n", NULL), 200);
    ck_assert(holds("<!doctype html>"));
    ck_assert_int_eq(ask("GET / HTTP/1.1\r\naccept: */*\r\n", NULL), 200);
    ck_assert(holds("{\"name\":\"tokenring\""));
}
END_TEST

START_TEST(model_id_with_a_slash_is_found)
{
    ck_assert_int_eq(ask("GET /v1/models/org/other HTTP/1.1\r\n", NULL), 200);
    ck_assert(holds("\"id\":\"org/other\""));
    ck_assert_int_eq(ask("GET /v1/models/org%2Fother HTTP/1.1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /v1/models/nobody HTTP/1.1\r\n", NULL), 404);
    expect_error("model_not_found");
}
END_TEST

START_TEST(keys_guard_everything_but_probes)
{
    ck_assert_int_eq(ask("GET /v1/models HTTP/1.1\r\n", NULL), 401);
    expect_error("invalid_api_key");
    ck_assert(holds("Incorrect API key provided"));
    ck_assert(holds("www-authenticate: Bearer\r\n"));
    ck_assert_int_eq(ask("GET / HTTP/1.1\r\n", NULL), 401);
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\n", FOLDED), 401);
    ck_assert_int_eq(ask("GET /v1/models HTTP/1.1\r\nauthorization: bearer secret-key-1\r\n", NULL),
                     200);
    ck_assert_int_eq(ask("GET /v1/models HTTP/1.1\r\nx-api-key: secret-key-1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /v1/models HTTP/1.1\r\napi-key: secret-key-2\r\n", NULL), 401);
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /metrics HTTP/1.1\r\n", NULL), 200);
}
END_TEST

/* --- bad requests ------------------------------------------------------------------------- */

START_TEST(bad_bodies_are_refused_before_the_engine)
{
    static const struct {
        const char *body, *code;
        int status;
    } rows[] = {
        { "{", "invalid_json", 400 },
        { "[]", "invalid_json", 400 },
        { "", "invalid_json", 400 },
        { "{\"messages\":[],\"model\":\"ringlet\"}", "empty_array", 400 },
        { QUESTION ",\"model\":\"nobody\"}", "model_not_found", 404 },
        { QUESTION ",\"temperature\":9}", "decimal_above_max_value", 400 },
    };
    wait_ready();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\n", rows[i].body), rows[i].status);
        expect_error(rows[i].code);
    }
    http_rig_expect_nothing(&rig);
}
END_TEST

START_TEST(other_media_types_are_415)
{
    wait_ready();
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\ncontent-type: text/plain\r\n", FOLDED), 415);
    expect_error("unsupported_media_type");
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\ncontent-type: application/json; charset=utf-8"
                         "\r\n",
                         "{"),
                     400);
}
END_TEST

START_TEST(large_headers_are_431)
{
    static char head[80000];
    const int n = snprintf(head, sizeof(head), "GET /livez HTTP/1.1\r\nx-long: ");
    memset(head + n, 'a', 70000);
    strcpy(head + n + 70000, "\r\n");
    ck_assert_int_eq(ask(head, NULL), 431);
}
END_TEST

START_TEST(prompt_beyond_the_context_is_refused_in_the_words_clients_know)
{
    static char body[64000];
    int n = snprintf(body, sizeof(body), "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 12000; i++)
        n += snprintf(body + n, sizeof(body) - (size_t)n, "%d ", i % 10);
    snprintf(body + n, sizeof(body) - (size_t)n, "\"}]}");
    wait_ready();
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\n", body), 400);
    expect_error("context_length_exceeded");
    ck_assert(holds("\"message\":\"This model's maximum context length is 2048 tokens"));
}
END_TEST

/* --- answers ------------------------------------------------------------------------------ */

START_TEST(stream_begins_with_acceptance_and_ends_in_done)
{
    uint32_t pos = 0;
    wait_ready();
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    ck_assert(http_rig_is_silent(fd));
    strbuf_reset(&in);
    http_rig_accept(&rig, id);
    http_rig_read_until(fd, &in, "\"role\":\"assistant\"");
    ck_assert(holds("HTTP/1.1 200 OK\r\n"));
    ck_assert(holds("content-type: text/event-stream; charset=utf-8\r\n"));
    ck_assert(holds("x-accel-buffering: no\r\n"));
    ck_assert(holds(": ok\n\n"));
    http_rig_text(&rig, id, &pos, "The capital is Paris.");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "data: [DONE]\n\n");
    ck_assert(holds("\"finish_reason\":\"length\""));
    expect_streamed("The capital is Paris.");
    ck_assert(holds("\"model\":\"ringlet\""));
    ck_assert(holds("\"system_fingerprint\":\"tokenring-" TOKENRING_VERSION "-cpu-tp1-"));
    close(fd);
    http_rig_expect_nothing(&rig);
}
END_TEST

START_TEST(connection_serves_the_next_request_after_a_stream)
{
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "Hi");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "data: [DONE]\n\n");
    http_rig_read_until(fd, &in, "\r\n0\r\n\r\n");
    http_rig_send(fd, "GET /version HTTP/1.1\r\nhost: x\r\n\r\n", 34);
    http_rig_read_until(fd, &in, "\"version\":");
    close(fd);
}
END_TEST

START_TEST(folded_answer_is_one_object)
{
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(FOLDED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    ck_assert(http_rig_is_silent(fd));
    http_rig_text(&rig, id, &pos, "Paris.");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "\"usage\":");
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
                     (int)pos);
    json_decref(value);
    close(fd);
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
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "Par");
    http_rig_read_until(fd, &in, "\"content\":\"P");
    http_rig_engine_down(&rig);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /startupz HTTP/1.1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    http_rig_engine_up(&rig);
    id = http_rig_take_submit(&rig);
    ck_assert((http_rig_last_params()->flags & RECORD_RESUMED) != 0);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "is");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "data: [DONE]\n\n");
    ck_assert(!holds("\"error\":{"));
    close(fd);
}
END_TEST

START_TEST(an_engine_gone_for_good_ends_a_stream_in_words)
{
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "Par");
    http_rig_read_until(fd, &in, "\"content\":\"P");
    http_rig_engine_gone(&rig);
    http_rig_read_until(fd, &in, "data: [DONE]\n\n");
    ck_assert(holds("\"error\":{"));
    ck_assert(holds("worker_failed"));
    close(fd);
}
END_TEST

START_TEST(an_engine_gone_for_good_is_a_500_before_anything_was_sent)
{
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(FOLDED);
    http_rig_accept(&rig, http_rig_take_submit(&rig));
    http_rig_engine_gone(&rig);
    http_rig_read_until(fd, &in, "worker_failed");
    ck_assert(holds("HTTP/1.1 500 "));
    close(fd);
}
END_TEST

START_TEST(max_tokens_beyond_the_context_are_clamped)
{
    const int32_t *prompt;
    uint32_t pos = 0;
    char header[64];
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(QUESTION ",\"max_tokens\":64000,\"stream\":true}");
    const uint64_t id = http_rig_take_submit(&rig);
    const uint32_t room = 2048 - http_rig_last_prompt(&prompt);
    ck_assert_int_eq((int)http_rig_last_params()->max_tokens, (int)room);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "x");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "[DONE]");
    snprintf(header, sizeof(header), "x-max-tokens-clamped: %u\r\n", room);
    ck_assert(holds(header));
    close(fd);
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
    uint32_t pos = 0;
    char *body = malloc(PAD + 256);
    int n = snprintf(body, 256, STREAMED);
    body[n - 1] = ',';
    n += snprintf(body + n, 32, "\"padding\":\"");
    memset(body + n, 'u', PAD);
    strcpy(body + n + PAD, "\"}");
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(body);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "Paris");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "[DONE]");
    close(fd);
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

/* --- clients that leave ------------------------------------------------------------------- */

START_TEST(close_before_the_first_token_cancels)
{
    static const char *const bodies[] = { STREAMED, FOLDED };
    wait_ready();
    for (size_t i = 0; i < 2; i++) {
        const int fd = start_chat(bodies[i]);
        const uint64_t id = http_rig_take_submit(&rig);
        close(fd);
        http_rig_expect_cancel(&rig, id);
    }
    http_rig_wait_stat(&rig, STAT_DISCONNECTS_QUEUED, 2);
    http_rig_wait_stat(&rig, STAT_INFLIGHT, 0);
}
END_TEST

START_TEST(reset_before_the_first_token_cancels)
{
    const struct linger hard = { .l_onoff = 1 };
    wait_ready();
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    http_rig_expect_cancel(&rig, id);
}
END_TEST

START_TEST(half_close_counts_as_gone)
{
    wait_ready();
    const int fd = start_chat(FOLDED);
    const uint64_t id = http_rig_take_submit(&rig);
    shutdown(fd, SHUT_WR);
    http_rig_expect_cancel(&rig, id);
    strbuf_reset(&in);
    http_rig_read_until(fd, &in, NULL); /* nothing but the end */
    ck_assert_int_eq((int)in.len, 0);
    close(fd);
}
END_TEST

START_TEST(close_in_the_middle_of_a_stream_cancels)
{
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "Paris");
    http_rig_read_until(fd, &in, "\"content\":\"P");
    close(fd);
    http_rig_expect_cancel(&rig, id);
    http_rig_wait_stat(&rig, STAT_DISCONNECTS_DECODE, 1);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 200);
}
END_TEST

START_TEST(close_with_a_pipelined_request_behind_cancels)
{
    wait_ready();
    const int fd = start_chat(STREAMED);
    http_rig_send(fd, "GET /version HTTP/1.1\r\nhost: x\r\n\r\n", 34);
    const uint64_t id = http_rig_take_submit(&rig);
    close(fd);
    http_rig_expect_cancel(&rig, id);
}
END_TEST

START_TEST(tokens_of_a_cancelled_request_are_dropped)
{
    uint32_t pos = 0;
    wait_ready();
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    close(fd);
    http_rig_expect_cancel(&rig, id);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "too late");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 200);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    static const char two[] = "GET /version HTTP/1.1\r\nhost: x\r\n\r\n"
                              "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    const int fd = http_rig_connect(&rig);
    http_rig_send(fd, two, sizeof(two) - 1);
    http_rig_read_until(fd, &in, NULL);
    const char *version = strstr(in.data, "\"version\":"), *live = strstr(in.data, "\"status\":");
    ck_assert(version != NULL && live != NULL && version < live);
    close(fd);
}
END_TEST

/* --- slow clients ------------------------------------------------------------------------- */

START_TEST(silent_stream_gets_comments)
{
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    http_rig_accept(&rig, http_rig_take_submit(&rig));
    http_rig_read_until(fd, &in, ": keep-alive\n\n");
    ck_assert(http_rig_stat(&rig, STAT_KEEPALIVES) >= 1);
    close(fd);
}
END_TEST

START_TEST(client_that_never_reads_is_cut)
{
    const int small = 4096;
    uint32_t pos = 0;
    struct ring_cell cell;
    wait_ready();
    const int fd = http_rig_connect(&rig);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    http_rig_post(fd, "/v1/completions",
                  "{\"prompt\":\"x\",\"stream\":true,\"max_tokens\":2000,\"n\":60}");
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    for (uint32_t i = 0; i < 60; i++) /* far more than the sockets take */
        for (pos = 0; pos < 1000; pos++) {
            cell = (struct ring_cell){
                .kind = RECORD_TOKENS, .choice = (uint8_t)i, .id = id, .pos = pos + 1, .count = 1
            };
            cell.tokens[0] = 70;
            while (ring_push(&rig.engine, &cell, NULL, 0) != 0)
                usleep(200);
            (void)ring_publish(&rig.engine);
            if (pos % 16 == 0)
                doorbell_ring(rig.doorbell);
        }
    http_rig_expect_cancel(&rig, id);
    http_rig_wait_stat(&rig, STAT_CONNECTIONS_KICKED, 1);
    close(fd);
}
END_TEST

START_TEST(body_that_never_comes_whole_is_cut)
{
    static const char head[] = "POST " CHAT " HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    const int fd = http_rig_connect(&rig);
    http_rig_send(fd, head, sizeof(head) - 1);
    http_rig_read_until(fd, &in, NULL);
    close(fd);
}
END_TEST

START_TEST(idle_connection_is_closed)
{
    const int fd = http_rig_connect(&rig);
    http_rig_read_until(fd, &in, NULL);
    ck_assert_int_eq((int)in.len, 0);
    close(fd);
}
END_TEST

/* --- the end ------------------------------------------------------------------------------ */

START_TEST(drain_refuses_new_work_and_finishes_old)
{
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int idle = http_rig_connect(&rig);
    http_rig_send(idle, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", 32);
    http_rig_read_until(idle, &in, "\"status\"");
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_read_until(fd, &in, ": ok");
    http_rig_tell(&rig, CONTROL_DRAIN);
    http_rig_read_until(idle, &in, NULL); /* an idle connection is closed at once */
    strbuf_reset(&in);
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\n", FOLDED), 503);
    expect_error("draining");
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    strbuf_reset(&in);
    http_rig_text(&rig, id, &pos, "Paris");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "data: [DONE]\n\n");
    http_rig_expect(&rig, CONTROL_DRAINED);
    http_rig_tell(&rig, CONTROL_STOP);
    ck_assert_int_eq(http_rig_wait_exit(&rig), 0);
    close(fd);
    close(idle);
}
END_TEST

START_TEST(stop_ends_every_stream_in_words)
{
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    http_rig_accept(&rig, http_rig_take_submit(&rig));
    http_rig_read_until(fd, &in, ": ok");
    http_rig_tell(&rig, CONTROL_STOP);
    http_rig_read_until(fd, &in, "data: [DONE]\n\n");
    ck_assert(holds("\"code\":\"draining\""));
    ck_assert_int_eq(http_rig_wait_exit(&rig), 0);
    close(fd);
}
END_TEST

START_TEST(frontend_ends_with_its_supervisor)
{
    wait_ready();
    shutdown(rig.control, SHUT_RDWR);
    ck_assert_int_eq(http_rig_wait_exit(&rig), 0);
}
END_TEST

/* --- metrics ------------------------------------------------------------------------------ */

START_TEST(metrics_count_what_happened)
{
    uint32_t pos = 0;
    wait_ready();
    strbuf_reset(&in);
    const int fd = start_chat(STREAMED);
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    http_rig_text(&rig, id, &pos, "Paris");
    http_rig_done(&rig, id, RECORD_FINISH_LENGTH, pos);
    http_rig_read_until(fd, &in, "[DONE]");
    close(fd);
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
                     (int)pos);
    json_decref(value);
}
END_TEST

static void add_case(Suite *suite, const char *name, void (*fixture)(void),
                     const TTest *const *tests)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, fixture, teardown);
    for (; *tests != NULL; tests++)
        tcase_add_test(tcase, *tests);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    Suite *suite = suite_create("frontend");
    add_case(suite, "loading", setup_loading,
             (const TTest *const[]){
                 loading_server_is_alive_and_not_ready, loading_server_lists_its_models,
                 loading_server_refuses_with_a_time_to_come_back, unknown_path_is_a_json_404,
                 wrong_method_is_405_with_allow, head_has_headers_and_no_body,
                 preflight_needs_no_key_and_echoes_what_was_asked,
                 request_id_comes_back_and_a_bad_one_is_replaced,
                 page_is_for_browsers_and_json_for_others, model_id_with_a_slash_is_found,
                 large_headers_are_431, pipelined_requests_are_answered_in_order, NULL });
    add_case(suite, "keys", setup_keys,
             (const TTest *const[]){ keys_guard_everything_but_probes, NULL });
    add_case(suite, "answers", setup,
             (const TTest *const[]){
                 bad_bodies_are_refused_before_the_engine, other_media_types_are_415,
                 prompt_beyond_the_context_is_refused_in_the_words_clients_know,
                 stream_begins_with_acceptance_and_ends_in_done,
                 connection_serves_the_next_request_after_a_stream, folded_answer_is_one_object,
                 full_engine_is_a_429_with_retry_after, a_stream_goes_on_at_the_next_engine,
                 an_engine_gone_for_good_ends_a_stream_in_words,
                 an_engine_gone_for_good_is_a_500_before_anything_was_sent,
                 max_tokens_beyond_the_context_are_clamped,
                 silent_model_is_sampled_as_its_generation_config_says,
                 large_bodies_are_prepared_beside_the_loop, special_tokens_in_a_message_are_data,
                 metrics_count_what_happened, NULL });
    add_case(suite, "leaving", setup,
             (const TTest *const[]){
                 close_before_the_first_token_cancels, reset_before_the_first_token_cancels,
                 half_close_counts_as_gone, close_in_the_middle_of_a_stream_cancels,
                 close_with_a_pipelined_request_behind_cancels,
                 tokens_of_a_cancelled_request_are_dropped, NULL });
    add_case(suite, "slow", setup_impatient,
             (const TTest *const[]){ silent_stream_gets_comments, client_that_never_reads_is_cut,
                                     body_that_never_comes_whole_is_cut, idle_connection_is_closed,
                                     NULL });
    add_case(suite, "end", setup,
             (const TTest *const[]){ drain_refuses_new_work_and_finishes_old,
                                     stop_ends_every_stream_in_words,
                                     frontend_ends_with_its_supervisor, NULL });
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
