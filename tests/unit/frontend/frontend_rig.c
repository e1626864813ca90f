#include "frontend_rig.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct http_rig rig;
struct strbuf in;

void begin(const char *const *options)
{
    in = (struct strbuf){ 0 };
    http_rig_start(&rig, options);
}

void setup_loading(void)
{
    begin((const char *const[]){ "--served-model-name", "ringlet,org/other", "--log-level=error",
                                 NULL });
}

void setup(void)
{
    setup_loading();
    http_rig_engine_up(&rig);
}

void teardown(void)
{
    strbuf_finish(&in);
    http_rig_finish(&rig);
}

int ask(const char *head, const char *body)
{
    return http_rig_ask(&rig, head, body, &in);
}

const char *body_of(void)
{
    const char *end = strstr(in.data, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    return end + 4;
}

bool holds(const char *text)
{
    return in.data != NULL && strstr(in.data, text) != NULL;
}

void expect_error(const char *code)
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

void expect_retry_after(long ms)
{
    const long told = number_behind("retry-after-ms: ");
    ck_assert_int_ge(told, ms * 8 / 10);
    ck_assert_int_le(told, ms * 12 / 10);
    ck_assert_int_eq(number_behind("retry-after: "), (told + 999) / 1000);
}

void expect_streamed(const char *text)
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

void wait_ready(void)
{
    for (int i = 0; i < 1000; i++, usleep(5000))
        if (ask("GET /readyz HTTP/1.1\r\n", NULL) == 200)
            return;
    ck_abort_msg("the frontend does not get ready");
}

int start_chat(const char *body)
{
    const int fd = http_rig_connect(&rig);
    http_rig_post(fd, CHAT, body);
    return fd;
}

struct chat begin_chat(const char *body)
{
    struct chat chat = { 0 };
    wait_ready();
    strbuf_reset(&in);
    chat.fd = start_chat(body);
    chat.id = http_rig_take_submit(&rig);
    return chat;
}

void accept_chat(const struct chat *chat)
{
    http_rig_accept(&rig, chat->id);
}

void say_chat(struct chat *chat, const char *text)
{
    http_rig_text(&rig, chat->id, &chat->pos, text);
}

void end_chat(const struct chat *chat)
{
    http_rig_done(&rig, chat->id, RECORD_FINISH_LENGTH, chat->pos);
}

void read_chat(const struct chat *chat, const char *wanted)
{
    http_rig_read_until(chat->fd, &in, wanted);
}

struct chat begin_stream(const char *text)
{
    char first[32];
    snprintf(first, sizeof(first), "\"content\":\"%c", *text);
    struct chat chat = begin_chat(STREAMED);
    accept_chat(&chat);
    say_chat(&chat, text);
    read_chat(&chat, first);
    return chat;
}

void answer_chat(struct chat *chat, const char *text, const char *wanted)
{
    accept_chat(chat);
    say_chat(chat, text);
    end_chat(chat);
    read_chat(chat, wanted);
}

void expect_answer(const char *head, int status, const char *text)
{
    ck_assert_int_eq(ask(head, NULL), status);
    ck_assert_msg(holds(text), "no %s in %s", text, in.data);
}

static void add_case(Suite *suite, const struct frontend_case *one)
{
    TCase *tcase = tcase_create(one->name);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, one->setup, teardown);
    for (const TTest *const *test = one->tests; *test != NULL; test++)
        tcase_add_test(tcase, *test);
    suite_add_tcase(suite, tcase);
}

int run_cases(const char *name, const struct frontend_case *cases, size_t num)
{
    Suite *suite = suite_create(name);
    for (size_t i = 0; i < num; i++)
        add_case(suite, &cases[i]);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
