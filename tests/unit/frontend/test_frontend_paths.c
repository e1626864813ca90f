/* Paths, methods, keys, headers, and bodies that are refused before any engine. */
#include <stdio.h>
#include <string.h>

#include "frontend_rig.h"
#include "proto/records/stats.h"

static void setup_keys(void)
{
    begin((const char *const[]){ "--api-key", "secret-key-1", "--log-level=error", NULL });
    http_rig_engine_up(&rig);
}

/* --- while loading ------------------------------------------------------------------------ */

START_TEST(loading_server_is_alive_and_not_ready)
{
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /startupz HTTP/1.1\r\n", NULL), 503);
    expect_answer("GET /health HTTP/1.1\r\n", 503, "\"model_loaded\":false");
    ck_assert(holds("\"status\":\"loading\""));
    expect_error("model_loading");
}
END_TEST

START_TEST(loading_server_lists_its_models)
{
    expect_answer("GET /v1/models HTTP/1.1\r\n", 200, "\"id\":\"ringlet\"");
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
    expect_answer("GET /version HTTP/1.1\r\nx-request-id: mine-42\r\n", 200,
                  "x-request-id: mine-42\r\n");
    expect_answer("GET /version HTTP/1.1\r\nx-request-id: a b\r\n", 200, "x-request-id: req-");
}
END_TEST

START_TEST(page_is_for_browsers_and_json_for_others)
{
    expect_answer("GET / HTTP/1.1\r\naccept: text/html,*/*\r\n", 200, "<!doctype html>");
    expect_answer("GET / HTTP/1.1\r\naccept: */*\r\n", 200, "{\"name\":\"tokenring\"");
}
END_TEST

START_TEST(model_id_with_a_slash_is_found)
{
    expect_answer("GET /v1/models/org/other HTTP/1.1\r\n", 200, "\"id\":\"org/other\"");
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

int main(void)
{
    const struct frontend_case cases[] = {
        { "loading", setup_loading,
          (const TTest *const[]){
              loading_server_is_alive_and_not_ready, loading_server_lists_its_models,
              loading_server_refuses_with_a_time_to_come_back, unknown_path_is_a_json_404,
              wrong_method_is_405_with_allow, head_has_headers_and_no_body,
              preflight_needs_no_key_and_echoes_what_was_asked,
              request_id_comes_back_and_a_bad_one_is_replaced,
              page_is_for_browsers_and_json_for_others, model_id_with_a_slash_is_found,
              large_headers_are_431, NULL } },
        { "keys", setup_keys, (const TTest *const[]){ keys_guard_everything_but_probes, NULL } },
        { "bodies", setup,
          (const TTest *const[]){
              bad_bodies_are_refused_before_the_engine, other_media_types_are_415,
              prompt_beyond_the_context_is_refused_in_the_words_clients_know, NULL } },
    };
    return run_cases("frontend_paths", cases, sizeof(cases) / sizeof(cases[0]));
}
