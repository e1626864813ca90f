/* What an engine may not say: each breach is found, reported once, and nothing is used of it. */
#include "frontend/session/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "session_rig.h"
#include "tests/unit/runner.h"

static struct rig rig;
static struct rig_ask ask;
static uint64_t id;

/* n = 2, 4 tokens, one alternative; started, one token of choice 0 accepted. */
static void setup(void)
{
    const struct record_logprob first[] = { { 'a', -1.0f, 1 }, { 'b', -2.0f, 2 } };
    rig_start(&rig, 64, 16384);
    rig_ask_init(&ask, &rig);
    ask.params.num_choices = 2;
    ask.params.max_tokens = 4;
    ask.params.num_logprobs = 1;
    rig_submit(&rig, &ask);
    id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    rig_say(&rig, (struct ring_cell){ .kind = RECORD_LOGPROBS, .id = id, .pos = 1 }, first,
            sizeof(first));
    rig_text(&rig, id, 0, 1, "a");
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nstarted\ntext 0 \"a\" [97:-1/98:-2]\nflush\n");
}

static void teardown(void)
{
    rig_finish(&rig);
}

static void expect_report(const char *what)
{
    rig_drain(&rig);
    const char *report = rig_report(&rig);
    ck_assert_ptr_nonnull(report);
    ck_assert_msg(strstr(report, what) != NULL, "\"%s\" is not in \"%s\"", what, report);
    ck_assert_ptr_null(rig_report(&rig)); /* once */
    ck_assert_str_eq(rig_events(&rig), "");
    ck_assert(!session_has_engine(rig.session));
}

static const struct {
    struct ring_cell cell; /* id is filled in where it is 0 */
    uint32_t bulk_len;
    const char *report;
} breaches[] = {
    { { .kind = 0 }, 0, "kind 0" },
    { { .kind = RECORD_SUBMIT }, 0, "kind 1" },
    { { .kind = RECORD_CANCEL }, 0, "kind 2" },
    { { .kind = RECORD_FAILED + 1 }, 0, "kind 22" },
    { { .kind = 255 }, 0, "kind 255" },
    { { .kind = RECORD_ACCEPTED, .flags = 1 }, 0, "flags 0x1" },
    { { .kind = RECORD_TOKENS, .flags = RECORD_FLAG_PROMPT, .count = 1, .pos = 2 }, 0, "flags" },
    { { .kind = RECORD_LOGPROBS, .flags = 2 }, 24, "flags 0x2" },
    { { .kind = RECORD_TOKENS, .count = 1, .pos = 2 }, 4, "bulk" },
    { { .kind = RECORD_ACCEPTED, .id = UINT64_MAX }, 0, "never given" },
    { { .kind = RECORD_ACCEPTED, .id = 5 }, 0, "never given" },
    { { .kind = RECORD_ACCEPTED, .id = 2ull << 20 }, 0, "never given" },
    { { .kind = RECORD_ACCEPTED }, 0, "second time" },
    { { .kind = RECORD_STARTED }, 0, "second time" },
    { { .kind = RECORD_TOKENS, .choice = 2, .count = 1, .pos = 1 }, 0, "choice 2" },
    { { .kind = RECORD_DONE, .choice = 255 }, 0, "choice 255" },
    { { .kind = RECORD_TOKENS, .count = 0, .pos = 2 }, 0, "count 0" },
    { { .kind = RECORD_TOKENS, .count = 9, .pos = 2 }, 0, "count 9" },
    { { .kind = RECORD_TOKENS, .count = 1, .pos = 3 }, 0, "position 3, expected 2" },
    { { .kind = RECORD_TOKENS, .count = 1, .pos = UINT32_MAX }, 0, "expected 2" },
    { { .kind = RECORD_TOKENS, .count = 4, .pos = 2 }, 0, "max_tokens is 4" },
    { { .kind = RECORD_TOKENS, .count = 1, .pos = 2, .tokens = { RIG_VOCAB } }, 0, "vocabulary" },
    { { .kind = RECORD_TOKENS, .count = 1, .pos = 2, .tokens = { -1 } }, 0, "vocabulary" },
    { { .kind = RECORD_TOKENS, .count = 1, .pos = 2, .tokens = { 'x' } },
      0,
      "without its LOGPROBS" },
    { { .kind = RECORD_LOGPROBS, .pos = 2 }, 0, "without any" },
    { { .kind = RECORD_LOGPROBS, .pos = 2 }, 20, "multiple of 24" },
    { { .kind = RECORD_LOGPROBS, .pos = 3 }, 24, "position 3, expected 2" },
    { { .kind = RECORD_LOGPROBS, .pos = 2 }, 96, "max_tokens is 4" },
    { { .kind = RECORD_LOGPROBS, .flags = RECORD_FLAG_PROMPT }, 24, "none were asked for" },
    { { .kind = RECORD_DONE, .words = { 0, 2, 0, 1 } }, 0, "reason 0" },
    { { .kind = RECORD_DONE, .words = { 3, 2, 0, 1 } }, 0, "reason 3" },
    { { .kind = RECORD_DONE, .words = { RECORD_FINISH_LENGTH, 3, 0, 1 } }, 0, "3 prompt tokens" },
    { { .kind = RECORD_DONE, .words = { RECORD_FINISH_LENGTH, 2, 3, 1 } }, 0, "3 cached" },
    { { .kind = RECORD_DONE, .words = { RECORD_FINISH_LENGTH, 2, 0, 2 } }, 0, "2 output tokens" },
    { { .kind = RECORD_DONE, .words = { RECORD_FINISH_EOS, 2, 0, 1 } }, 0, "does not end it" },
    { { .kind = RECORD_FAILED, .words = { 0 } }, 0, "code 0" },
    { { .kind = RECORD_FAILED, .words = { RECORD_FAILURE_WORKER } }, 0, "code 8" },
};
enum { NUM_BREACHES = sizeof(breaches) / sizeof(breaches[0]) };

START_TEST(a_cell_that_breaks_a_rule_is_reported_and_not_used)
{
    static const struct record_logprob zeros[8];
    struct ring_cell cell = breaches[_i].cell;
    if (cell.id == 0)
        cell.id = id;
    rig_say(&rig, cell, zeros, breaches[_i].bulk_len);
    rig_text(&rig, id, 1, 1, "b"); /* comes too late */

    expect_report(breaches[_i].report);
}
END_TEST

START_TEST(a_cell_before_started_is_reported)
{
    rig_submit(&rig, &ask);
    const uint64_t other = rig_take_submit(&rig);
    rig_accept(&rig, other);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "accepted\nflush\n");
    rig_text(&rig, other, 0, 1, "a");
    expect_report("before STARTED");
}
END_TEST

static const struct {
    struct record_logprob entries[2];
    const char *report; /* NULL: allowed */
} values[] = {
    { { { 'a', NAN, 1 }, { 'b', -1.0f, 2 } }, "log-probability nan" },
    { { { 'a', INFINITY, 1 }, { 'b', -1.0f, 2 } }, "log-probability inf" },
    { { { 'a', -1.0f, 1 }, { 'b', -NAN, 2 } }, "log-probability" },
    { { { RIG_VOCAB, -1.0f, 1 }, { 'b', -1.0f, 2 } }, "vocabulary" },
    { { { -1, -1.0f, 1 }, { 'b', -1.0f, 2 } }, "vocabulary" },
    { { { 'a', -1.0f, 1 }, { -2, -1.0f, 2 } }, "vocabulary" },
    { { { 'x', -1.0f, 1 }, { 'b', -1.0f, 2 } }, "LOGPROBS told of 120" },
    { { { 'a', -INFINITY, 1 }, { -1, NAN, 0 } }, NULL },
};
enum { NUM_VALUES = sizeof(values) / sizeof(values[0]) };

START_TEST(log_probabilities_are_of_the_token_and_finite_or_minus_infinity)
{
    rig_say(&rig, (struct ring_cell){ .kind = RECORD_LOGPROBS, .id = id, .pos = 2 },
            values[_i].entries, sizeof(values[_i].entries));
    rig_text(&rig, id, 0, 2, "a");
    if (values[_i].report != NULL) {
        expect_report(values[_i].report);
        return;
    }
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "text 0 \"a\" [97:-inf]\nflush\n");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(a_token_behind_the_end_is_reported)
{
    rig_tokens(&rig, id, 0, 2, 2, (int32_t[]){ RIG_EOS, 'a' });
    expect_report("behind the end");
}
END_TEST

START_TEST(positions_that_are_known_are_dropped_and_counted)
{
    struct session_counters counters;
    rig_text(&rig, id, 0, 1, "a");
    rig_text(&rig, id, 0, 0, "a");
    rig_drain(&rig);

    session_get_counters(rig.session, &counters);
    ck_assert_uint_eq(counters.duplicate_cells, 2);
    ck_assert_uint_eq(rig_stat(&rig, STAT_RING_DROPPED), 2);
    ck_assert_str_eq(rig_events(&rig), "");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(a_done_that_comes_twice_is_dropped)
{
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 1, -1);
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, 1, -1);
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), "finished 0 length\nflush\n");
    ck_assert_ptr_null(rig_report(&rig));
}
END_TEST

START_TEST(prompt_log_probabilities_are_those_of_the_prompt)
{
    const struct record_logprob wrong[] = { { RIG_HELLO, -1.0f, 1 } };
    ask.params.num_prompt_logprobs = 0;
    rig_submit(&rig, &ask);
    const uint64_t other = rig_take_submit(&rig);
    rig_begin(&rig, other, 0);
    rig_drain(&rig);
    (void)rig_events(&rig);
    rig_say(&rig,
            (struct ring_cell){
                .kind = RECORD_LOGPROBS, .flags = RECORD_FLAG_PROMPT, .id = other, .pos = 1 },
            wrong, sizeof(wrong));
    expect_report("which is 257");
}
END_TEST

START_TEST(tokens_before_the_log_probabilities_of_the_prompt_are_reported)
{
    ask.params.num_prompt_logprobs = 0;
    rig_submit(&rig, &ask);
    const uint64_t other = rig_take_submit(&rig);
    rig_begin(&rig, other, 0);
    rig_drain(&rig);
    (void)rig_events(&rig);
    rig_text(&rig, other, 0, 1, "a");
    expect_report("before all LOGPROBS of the prompt");
}
END_TEST

START_TEST(a_corrupt_engine_keeps_its_requests_until_it_is_down)
{
    rig_say(&rig, (struct ring_cell){ .kind = 99 }, NULL, 0);
    expect_report("kind 99");
    ck_assert_uint_eq(session_num_requests(rig.session), 1);
    rig_engine_down(&rig, 0);
    ck_assert_str_eq(rig_events(&rig), "");
    ck_assert_uint_eq(session_num_held(rig.session), 1);
}
END_TEST

RUN_ROWS("receive", setup, teardown, 60,
         TIMES(a_cell_that_breaks_a_rule_is_reported_and_not_used, NUM_BREACHES),
         ONCE(a_cell_before_started_is_reported),
         TIMES(log_probabilities_are_of_the_token_and_finite_or_minus_infinity, NUM_VALUES),
         ONCE(a_token_behind_the_end_is_reported),
         ONCE(positions_that_are_known_are_dropped_and_counted),
         ONCE(a_done_that_comes_twice_is_dropped),
         ONCE(prompt_log_probabilities_are_those_of_the_prompt),
         ONCE(tokens_before_the_log_probabilities_of_the_prompt_are_reported),
         ONCE(a_corrupt_engine_keeps_its_requests_until_it_is_down))
