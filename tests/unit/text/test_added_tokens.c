#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runner.h"
#include "text/added_tokens.h"
#include "text/unicode.h"

static struct added_tokens added;

static void setup(void)
{
    ck_assert_int_eq(unicode_load(), 0);
    ck_assert_int_eq(added_tokens_init(&added), 0);
}

static void teardown(void)
{
    added_tokens_finish(&added);
}

static void add(const char *text, struct added_token token)
{
    ck_assert_int_eq(added_tokens_add(&added, text, strlen(text), token), 0);
}

/* The segments as "text|<7>|text". */
static const char *cut(const char *text, bool parse_special)
{
    static char out[1024];
    struct added_tokens_cursor cursor;
    struct added_tokens_segment segment;
    size_t len = 0;
    out[0] = '\0';
    added_tokens_begin(&cursor, &added, text, strlen(text), parse_special);
    while (added_tokens_next(&cursor, &segment)) {
        const char *bar = len > 0 ? "|" : "";
        if (segment.id >= 0)
            len += (size_t)snprintf(out + len, sizeof(out) - len, "%s<%d>", bar, segment.id);
        else
            len += (size_t)snprintf(out + len, sizeof(out) - len, "%s%.*s", bar, (int)segment.len,
                                    text + segment.start);
        ck_assert_uint_lt(len, sizeof(out));
    }
    return out;
}

START_TEST(leftmost_match_wins_and_of_these_the_longest)
{
    add("ab", (struct added_token){ .id = 1 });
    add("abcd", (struct added_token){ .id = 2 });
    add("bcx", (struct added_token){ .id = 3 });

    ck_assert_str_eq(cut("abcabcdbcx", true), "<1>|c|<2>|<3>");
    ck_assert_str_eq(cut("abcx", true), "<1>|cx");
    ck_assert_str_eq(cut("xabc", true), "x|<1>|c");
}
END_TEST

START_TEST(text_without_a_token_is_one_segment)
{
    ck_assert_str_eq(cut("nothing here", true), "nothing here");
    add("<s>", (struct added_token){ .id = 1 });
    ck_assert_str_eq(cut("nothing < here <s", true), "nothing < here <s");
    ck_assert_str_eq(cut("", true), "");
}
END_TEST

START_TEST(special_token_in_data_is_text)
{
    add("<s>", (struct added_token){ .id = 1, .special = true });
    add("<t>", (struct added_token){ .id = 2 });

    ck_assert_str_eq(cut("a<s>b<t>", true), "a|<1>|b|<2>");
    ck_assert_str_eq(cut("a<s>b<t>", false), "a<s>b|<2>");
}
END_TEST

START_TEST(strips_swallow_white_space_beside_the_match)
{
    add("<l>", (struct added_token){ .id = 1, .lstrip = true });
    add("<r>", (struct added_token){ .id = 2, .rstrip = true });

    ck_assert_str_eq(cut("a \t\xE3\x80\x80<l> b", true), "a|<1>| b");
    ck_assert_str_eq(cut("a <r> \n\xE3\x80\x80"
                         "b",
                         true),
                     "a |<2>|b");
    ck_assert_str_eq(cut(" <r>  <l> ", true), " |<2>|<1>| ");
}
END_TEST

START_TEST(single_word_is_refused_inside_a_word)
{
    add("in", (struct added_token){ .id = 1, .single_word = true });

    ck_assert_str_eq(cut("in", true), "<1>");
    ck_assert_str_eq(cut("within inn -in.", true), "within inn -|<1>|.");
    ck_assert_str_eq(cut("_in in_ in\xCC\x81 \xC3\xA9in 1in", true),
                     "_in in_ in\xCC\x81 \xC3\xA9in 1in");
}
END_TEST

/* Each match would measure the run behind it again: the test's timeout says so. */
START_TEST(white_space_token_that_strips_takes_linear_time)
{
    enum { LEN = 1 << 20 };
    struct added_tokens_cursor cursor;
    struct added_tokens_segment segment;
    char *text = malloc(LEN);
    size_t num = 0;
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', LEN);
    add(" ", (struct added_token){ .id = 1, .lstrip = true, .rstrip = true });

    added_tokens_begin(&cursor, &added, text, LEN, true);
    while (added_tokens_next(&cursor, &segment))
        num++;
    ck_assert_uint_eq(num, LEN);
    free(text);
}
END_TEST

RUN_SUITE_AROUND("added_tokens", setup, teardown, leftmost_match_wins_and_of_these_the_longest,
                 text_without_a_token_is_one_segment, special_token_in_data_is_text,
                 strips_swallow_white_space_beside_the_match, single_word_is_refused_inside_a_word,
                 white_space_token_that_strips_takes_linear_time)
