#include "frontend/session/held_text.h"
#include "tests/unit/runner.h"

#include <stdlib.h>
#include <string.h>

/* What came out of one text, cut into tokens in some way. */
struct result {
    struct strbuf text;
    size_t num_tokens, num_sent; /* pushed, and gone out */
    bool is_cut;
};

static struct held_text held;
static struct stop_matcher *matcher;

static void take(struct result *result, const struct held_text_ready *ready)
{
    strbuf_append(&result->text, ready->text, ready->len);
    result->num_sent += ready->num_tokens;
    result->is_cut = ready->is_cut;
    held_text_take(&held, ready);
}

/* `text` as tokens that end behind each byte whose bit is set in `cuts`. */
static struct result run(const char *text, unsigned cuts, const struct held_text_rule *rule)
{
    struct result result = { 0 };
    struct held_text_ready ready;
    const size_t len = strlen(text);
    size_t from = 0;
    held = (struct held_text){ 0 };
    for (size_t i = 0; i < len && !result.is_cut; i++) {
        if (i + 1 < len && (cuts >> i & 1) == 0)
            continue;
        ck_assert_int_eq(held_text_push(&held, rule, text + from, i + 1 - from, &ready), 0);
        result.num_tokens++;
        take(&result, &ready);
        from = i + 1;
    }
    if (!result.is_cut) {
        ck_assert_int_eq(held_text_end(&held, rule, &ready), 0);
        take(&result, &ready);
    }
    held_text_finish(&held);
    return result;
}

static void make_matcher(const char *stop)
{
    const size_t len = strlen(stop);
    ck_assert_int_eq(stop_matcher_create(&stop, &len, 1, &matcher), 0);
}

static void teardown(void)
{
    stop_matcher_destroy(matcher);
    matcher = NULL;
}

START_TEST(a_stop_string_is_found_at_every_split)
{
    static const char text[] = "ab\xE2\x82\xACSTO STOPzz";
    make_matcher("STOP");
    const struct held_text_rule rule = { .matcher = matcher, .is_checked = true };
    for (unsigned cuts = 0; cuts < 1u << (sizeof(text) - 2); cuts++) {
        struct result result = run(text, cuts, &rule);
        ck_assert(result.is_cut);
        ck_assert_str_eq(result.text.data, "ab\xE2\x82\xACSTO ");
        strbuf_finish(&result.text);
    }
}
END_TEST

START_TEST(text_and_tokens_all_go_out_without_a_match)
{
    static const char text[] = "S\xF0\x9F\x98\x80ST\xE2STO\xC3\xA9S";
    make_matcher("STOP");
    const struct held_text_rule rule = { .matcher = matcher, .is_checked = true };
    for (unsigned cuts = 0; cuts < 1u << (sizeof(text) - 2); cuts++) {
        struct result result = run(text, cuts, &rule);
        ck_assert(!result.is_cut);
        ck_assert_str_eq(result.text.data, "S\xF0\x9F\x98\x80ST\xEF\xBF\xBDSTO\xC3\xA9S");
        ck_assert_uint_eq(result.num_sent, result.num_tokens);
        strbuf_finish(&result.text);
    }
}
END_TEST

/* Tokens of bytes [begin, end) of "abSTOP": kept if they begin before the cut at 2 (or, with the
 * stop string wanted, at 6), whatever they are cut into. */
START_TEST(exactly_the_tokens_that_begin_before_the_cut_are_kept)
{
    static const char text[] = "abSTOPq";
    make_matcher("STOP");
    for (unsigned way = 0; way < 2u << (sizeof(text) - 2); way++) {
        const struct held_text_rule rule = { matcher, true, way % 2 != 0 };
        const size_t cut = rule.include_stop ? 6 : 2;
        size_t wanted = 1;
        for (size_t i = 1; i < cut; i++)
            wanted += way / 2 >> (i - 1) & 1;
        struct result result = run(text, way / 2, &rule);
        ck_assert_uint_eq(result.num_sent, wanted);
        strbuf_finish(&result.text);
    }
}
END_TEST

START_TEST(no_more_is_held_than_may_become_a_stop_string)
{
    static const char text[] = "xSSTSTOxSTO";
    static const size_t wanted[] = { 0, 1, 1, 2, 1, 2, 3, 0, 1, 2, 3 };
    struct held_text_ready ready;
    make_matcher("STOP");
    const struct held_text_rule rule = { .matcher = matcher, .is_checked = true };
    held = (struct held_text){ 0 };
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        ck_assert_int_eq(held_text_push(&held, &rule, text + i, 1, &ready), 0);
        held_text_take(&held, &ready);
        ck_assert_uint_eq(held.text.len, wanted[i]);
    }
    held_text_finish(&held);
}
END_TEST

START_TEST(a_token_without_text_waits_for_the_next_text)
{
    const struct held_text_rule rule = { 0 };
    struct held_text_ready ready;
    held = (struct held_text){ 0 };
    ck_assert_int_eq(held_text_push(&held, &rule, NULL, 0, &ready), 0);
    ck_assert_uint_eq(ready.num_tokens, 0);
    held_text_take(&held, &ready);
    ck_assert_int_eq(held_text_push(&held, &rule, "a", 1, &ready), 0);
    ck_assert_uint_eq(ready.num_tokens, 2);
    held_text_take(&held, &ready);
    ck_assert_int_eq(held_text_push(&held, &rule, NULL, 0, &ready), 0);
    held_text_take(&held, &ready);
    ck_assert_int_eq(held_text_end(&held, &rule, &ready), 0);
    ck_assert_uint_eq(ready.num_tokens, 1);
    ck_assert_uint_eq(ready.len, 0);
    held_text_finish(&held);
}
END_TEST

START_TEST(a_token_that_ends_inside_a_character_waits_for_its_rest)
{
    const struct held_text_rule rule = { 0 };
    struct held_text_ready ready;
    held = (struct held_text){ 0 };
    ck_assert_int_eq(held_text_push(&held, &rule, "a\xE2", 2, &ready), 0);
    ck_assert_uint_eq(ready.len, 1);
    ck_assert_uint_eq(ready.num_tokens, 0);
    held_text_take(&held, &ready);
    ck_assert_int_eq(held_text_push(&held, &rule, "\x82\xAC", 2, &ready), 0);
    ck_assert_uint_eq(ready.len, 3);
    ck_assert_uint_eq(ready.num_tokens, 2);
    held_text_take(&held, &ready);
    held_text_finish(&held);
}
END_TEST

RUN_SUITE_AROUND("held_text", NULL, teardown, a_stop_string_is_found_at_every_split,
                 text_and_tokens_all_go_out_without_a_match,
                 exactly_the_tokens_that_begin_before_the_cut_are_kept,
                 no_more_is_held_than_may_become_a_stop_string,
                 a_token_without_text_waits_for_the_next_text,
                 a_token_that_ends_inside_a_character_waits_for_its_rest)
