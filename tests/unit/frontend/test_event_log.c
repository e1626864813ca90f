#include <string.h>

#include "frontend/event_log.h"
#include "tests/unit/runner.h"

static struct event_log event_log;
static struct answer_event got;

static void setup(void)
{
    event_log = (struct event_log){ 0 };
}

static void teardown(void)
{
    event_log_finish(&event_log);
}

static void push_text(uint32_t choice, const char *text)
{
    const struct answer_event event = {
        .kind = ANSWER_TEXT, .choice = choice, .text = text, .text_len = strlen(text), .stop_id = -1
    };
    ck_assert(event_log_push(&event_log, &event));
}

static void expect_text(uint32_t choice, const char *text)
{
    ck_assert(event_log_pop(&event_log, &got));
    ck_assert_int_eq(got.kind, ANSWER_TEXT);
    ck_assert_int_eq((int)got.choice, (int)choice);
    ck_assert_int_eq((int)got.text_len, (int)strlen(text));
    ck_assert(memcmp(got.text, text, got.text_len) == 0);
}

START_TEST(text_of_one_choice_becomes_one_event)
{
    push_text(0, "a");
    push_text(0, "bc");
    push_text(1, "x");
    push_text(0, "d");
    expect_text(0, "abc");
    expect_text(1, "x");
    expect_text(0, "d");
    ck_assert(!event_log_pop(&event_log, &got));
    ck_assert(event_log_is_empty(&event_log));
}
END_TEST

START_TEST(text_behind_a_handed_out_event_is_a_new_one)
{
    push_text(0, "a");
    expect_text(0, "a");
    push_text(0, "b");
    expect_text(0, "b");
}
END_TEST

START_TEST(nothing_is_joined_across_an_end)
{
    const struct answer_event finished = { .kind = ANSWER_FINISHED,
                                           .finish = ANSWER_FINISH_STOP,
                                           .stop_text = "STOP!",
                                           .stop_text_len = 4,
                                           .stop_id = -1,
                                           .usage = { 1, 2, 3 } };
    push_text(0, "a");
    ck_assert(event_log_push(&event_log, &finished));
    push_text(0, "b");
    expect_text(0, "a");
    ck_assert(event_log_pop(&event_log, &got));
    ck_assert_int_eq(got.kind, ANSWER_FINISHED);
    ck_assert_int_eq((int)got.stop_text_len, 4);
    ck_assert(memcmp(got.stop_text, "STOP", 4) == 0);
    ck_assert_int_eq((int)got.usage.completion_tokens, 2);
    expect_text(0, "b");
}
END_TEST

START_TEST(tokens_come_back_with_their_alternatives)
{
    const struct record_logprob top[2][2] = { { { 7, -0.5f, 1 }, { 8, -1.5f, 2 } },
                                              { { 9, -0.25f, 1 }, { 10, -2.5f, 2 } } };
    const struct answer_token tokens[2] = {
        { .id = 7,
          .bytes = "Hel",
          .len = 3,
          .has_logprob = true,
          .logprob = -0.5f,
          .num_top = 2,
          .top = top[0] },
        { .id = 9,
          .bytes = "lo",
          .len = 2,
          .has_logprob = true,
          .logprob = -0.25f,
          .num_top = 2,
          .top = top[1] },
    };
    const struct answer_event event = { .kind = ANSWER_TEXT,
                                        .text = "Hello",
                                        .text_len = 5,
                                        .tokens = tokens,
                                        .num_tokens = 2,
                                        .stop_id = -1 };
    for (int i = 0; i < 3; i++)
        ck_assert(event_log_push(&event_log, &event));
    for (int i = 0; i < 3; i++) {
        expect_text(0, "Hello");
        ck_assert_int_eq((int)got.num_tokens, 2);
        for (size_t t = 0; t < 2; t++) {
            ck_assert_int_eq(got.tokens[t].id, tokens[t].id);
            ck_assert(got.tokens[t].len == tokens[t].len &&
                      memcmp(got.tokens[t].bytes, tokens[t].bytes, tokens[t].len) == 0);
            ck_assert(memcmp(got.tokens[t].top, top[t], sizeof(top[t])) == 0);
        }
    }
}
END_TEST

START_TEST(tokens_are_dropped_when_nobody_writes_them)
{
    const struct answer_token token = { .id = 7, .bytes = "a", .len = 1 };
    const struct answer_event event = {
        .kind = ANSWER_TEXT, .text = "a", .text_len = 1, .tokens = &token, .num_tokens = 1
    };
    event_log.drop_tokens = true;
    ck_assert(event_log_push(&event_log, &event));
    ck_assert(event_log_push(&event_log, &event));
    expect_text(0, "aa");
    ck_assert_int_eq((int)got.num_tokens, 0);
}
END_TEST

/* Pushing and popping in turn for long: memory that was handed out is used again. */
START_TEST(log_that_is_read_does_not_grow)
{
    char text[1024];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    push_text(99, "first");
    for (uint32_t i = 0; i < 20000; i++) {
        push_text(i % 2, text);
        ck_assert(event_log_pop(&event_log, &got));
    }
    ck_assert(event_log.records.cap < 2 * 1024 * 1024);
}
END_TEST

RUN_SUITE_AROUND("event_log", setup, teardown, text_of_one_choice_becomes_one_event,
                 text_behind_a_handed_out_event_is_a_new_one, nothing_is_joined_across_an_end,
                 tokens_come_back_with_their_alternatives,
                 tokens_are_dropped_when_nobody_writes_them, log_that_is_read_does_not_grow)
