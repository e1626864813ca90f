#include "frontend/session/detokenizer.h"
#include "tests/unit/runner.h"

#include <stdlib.h>
#include <string.h>

/* Input and the text that it is, by Unicode's table of maximal subparts. */
static const struct {
    const char *bytes, *text;
} cases[] = {
    { "plain ascii", "plain ascii" },
    { "\xF0\x9F\x98\x80\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x94\xAC!",
      "\xF0\x9F\x98\x80\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x94\xAC!" }, /* emoji, joined */
    { "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96", "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C"
                                                          "\xE4\xB8\x96" }, /* CJK */
    { "e\xCC\x81 n\xCC\x83\xCC\xB2", "e\xCC\x81 n\xCC\x83\xCC\xB2" },       /* combining */
    { "a\xE2\x82", "a\xEF\xBF\xBD" },                                       /* cut off */
    { "\xF0\x9F\x98", "\xEF\xBF\xBD" },                                     /* cut off */
    { "\xE2\x82z", "\xEF\xBF\xBDz" },                                       /* disproved */
    { "\xF0\x9F\xE2\x82\xAC", "\xEF\xBF\xBD\xE2\x82\xAC" },     /* disproved by a lead */
    { "\xC0\x80x", "\xEF\xBF\xBD\xEF\xBF\xBDx" },               /* overlong */
    { "\xE0\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" }, /* overlong */
    { "\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" }, /* surrogate */
    { "\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" }, /* > U+10FFFF */
    { "\xF5"
      "a\xFF\xFE",
      "\xEF\xBF\xBD"
      "a\xEF\xBF\xBD\xEF\xBF\xBD" },
    { "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
      "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
      "b\xEF\xBF\xBD"
      "c\xEF\xBF\xBD\xEF\xBF\xBD"
      "d" }, /* Unicode 15, table 3-8 */
};
enum { NUM_CASES = sizeof(cases) / sizeof(cases[0]) };

/* The text of cases[n], cut behind each byte whose bit is set in `cuts`. */
static struct strbuf in_pieces(int n, unsigned cuts)
{
    struct detokenizer detokenizer = { 0 };
    struct strbuf out = { 0 };
    const size_t len = strlen(cases[n].bytes);
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        if (i + 1 < len && (cuts >> i & 1) == 0)
            continue;
        detokenizer_push(&detokenizer, cases[n].bytes + from, i + 1 - from, &out);
        ck_assert_uint_le(detokenizer.num_held, 3);
        from = i + 1;
    }
    detokenizer_flush(&detokenizer, &out);
    return out;
}

START_TEST(text_does_not_depend_on_where_the_bytes_were_cut)
{
    const size_t num_cuts = strlen(cases[_i].bytes) - 1;
    const unsigned num_ways = 1u << (num_cuts < 14 ? num_cuts : 14);
    for (unsigned cuts = 0; cuts < num_ways; cuts++) {
        struct strbuf text = in_pieces(_i, cuts);
        ck_assert_str_eq(text.data, cases[_i].text);
        strbuf_finish(&text);
    }
}
END_TEST

START_TEST(a_whole_character_is_never_held)
{
    struct detokenizer detokenizer = { 0 };
    struct strbuf out = { 0 };

    detokenizer_push(&detokenizer, "\xE2\x82", 2, &out);
    ck_assert_uint_eq(out.len, 0);
    detokenizer_push(&detokenizer, "\xAC", 1, &out);
    ck_assert_str_eq(out.data, "\xE2\x82\xAC");
    ck_assert_uint_eq(detokenizer.num_held, 0);
    detokenizer_flush(&detokenizer, &out);
    ck_assert_uint_eq(out.len, 3);
    strbuf_finish(&out);
}
END_TEST

START_TEST(bytes_that_can_be_no_character_are_not_held)
{
    struct detokenizer detokenizer = { 0 };
    struct strbuf out = { 0 };

    detokenizer_push(&detokenizer, "\xED\xA0", 2, &out); /* a surrogate, whatever follows */
    ck_assert_uint_eq(detokenizer.num_held, 0);
    ck_assert_uint_eq(out.len, 6);
    strbuf_finish(&out);
}
END_TEST

RUN_ROWS("detokenizer", NULL, NULL, 60,
         TIMES(text_does_not_depend_on_where_the_bytes_were_cut, NUM_CASES),
         ONCE(a_whole_character_is_never_held), ONCE(bytes_that_can_be_no_character_are_not_held))
