/* The splitters written by hand against the same patterns in PCRE2. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "tests/unit/runner.h"
#include "text/regex.h"
#include "text/splitter.h"
#include "text/unicode.h"

static const char *const patterns[] = { splitter_gpt2_pattern, splitter_llama3_pattern,
                                        splitter_qwen2_pattern, "\\p{N}" };
enum { NUM_PATTERNS = 4, NUM_SEEDED = 3000 };

static json_t *texts;
static struct regex_work *work;

static void setup(void)
{
    texts = golden_load(GOLDEN_DIR "texts.json");
    ck_assert_int_eq(unicode_load(), 0);
    ck_assert_int_eq(regex_work_create(&work), 0);
}

static void teardown(void)
{
    json_decref(texts);
    regex_work_destroy(work);
}

static struct splitter make(const char *pattern, bool by_hand)
{
    struct splitter splitter;
    struct error err = { 0 };
    const int r = splitter_init_pattern(&splitter, pattern, strlen(pattern), by_hand, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    return splitter;
}

/* Every start, not only those where a match ended: more contexts per text. */
static void expect_same(const struct splitter *a, const struct splitter *b, const char *text,
                        size_t len, int seed)
{
    for (size_t from = 0; from < len; from++) {
        struct splitter_match want = { 0 }, found = { 0 };
        if (((unsigned char)text[from] & 0xC0) == 0x80)
            continue;
        const int r = splitter_find(a, work, text, len, from, &want);
        ck_assert_int_ge(r, 0);
        ck_assert_int_eq(splitter_find(b, work, text, len, from, &found), r);
        if (r > 0)
            ck_assert_msg(want.start == found.start && want.end == found.end,
                          "seed %d from %zu: PCRE2 %zu-%zu, by hand %zu-%zu", seed, from,
                          want.start, want.end, found.start, found.end);
    }
}

START_TEST(hand_written_splitters_match_what_pcre2_matches)
{
    struct splitter regex = make(patterns[_i], false), by_hand = make(patterns[_i], true);
    struct strbuf text = { 0 };

    ck_assert_int_eq(regex.type, SPLITTER_REGEX);
    ck_assert_int_ne(by_hand.type, SPLITTER_REGEX);
    for (int seed = 0; seed < NUM_SEEDED; seed++) {
        golden_seeded_text(texts, (uint64_t)seed + 100000, &text);
        if (text.len < 300)
            expect_same(&regex, &by_hand, text.data, text.len, seed);
    }
    splitter_finish(&regex);
    splitter_finish(&by_hand);
    strbuf_finish(&text);
}
END_TEST

/* What every character is to a splitter: alone, and between letters. Unicode versions differ in
 * what they assign, so only characters that both libraries know are compared. */
START_TEST(characters_have_the_class_that_pcre2_gives_them)
{
    static const struct {
        const char *pattern;
        unsigned class;
    } rows[] = { { "\\p{L}", UNICODE_LETTER },
                 { "\\p{N}", UNICODE_NUMBER },
                 { "\\s", UNICODE_SPACE } };
    struct splitter regex = make(rows[_i].pattern, false), known = make("\\p{Cn}", false);
    int num = 0, differ = 0;

    for (uint32_t c = 1; c < 0x110000; c++) {
        char bytes[4];
        struct splitter_match match;
        const size_t len = (size_t)utf8_encode(c, bytes);
        if (len == 0 || splitter_find(&known, work, bytes, len, 0, &match) > 0)
            continue;
        const bool want = splitter_find(&regex, work, bytes, len, 0, &match) > 0;
        num += want;
        differ += want != ((unicode_class(c) & rows[_i].class) != 0);
    }
    ck_assert_int_ge(num, 25);
    ck_assert_msg(differ * 50 <= num, "%d of %d differ", differ, num);
    if (rows[_i].class == UNICODE_SPACE)
        ck_assert_int_eq(num * 1000 + differ, 25000);
    splitter_finish(&regex);
    splitter_finish(&known);
}
END_TEST

START_TEST(literal_pattern_is_found_as_it_stands)
{
    struct splitter splitter;
    struct splitter_match match;

    ck_assert_int_eq(splitter_init_literal(&splitter, ".*", 2), 0);
    ck_assert_int_eq(splitter_find(&splitter, work, "a.b.*c", 6, 0, &match), 1);
    ck_assert_uint_eq(match.start, 3);
    ck_assert_uint_eq(match.end, 5);
    ck_assert_int_eq(splitter_find(&splitter, work, "a.b.*c", 6, 5, &match), 0);
    splitter_finish(&splitter);
}
END_TEST

START_TEST(what_pcre2_would_read_in_another_way_is_refused)
{
    static const struct {
        const char *pattern, *sentence;
        int code;
    } rows[] = {
        { "a[b[c]]", "byte 3: a class in a class", -ENOTSUP },
        { "[a-z&&b]", "byte 4: && in a class", -ENOTSUP },
        { "x\\h", "byte 1: \\h", -ENOTSUP },
        { "a{,2}", "byte 1: {,n}", -ENOTSUP },
        { "\\p{N}{1,3}+", "byte 5: + behind an interval", -ENOTSUP },
        { "[\\S]", "byte 1: \\S in a class", -ENOTSUP },
        { "a(b", "missing closing parenthesis", -EINVAL },
        { "\\C", "byte 2", -EINVAL },
        { "", "0 bytes", -EINVAL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct splitter splitter;
        struct error err = { 0 };
        const char *pattern = rows[i].pattern;
        ck_assert_int_eq(splitter_init_pattern(&splitter, pattern, strlen(pattern), true, &err),
                         rows[i].code);
        ck_assert_msg(strstr(err.message, rows[i].sentence) != NULL, "%s", err.message);
        splitter_finish(&splitter);
    }
}
END_TEST

START_TEST(hopeless_pattern_gives_up_at_its_limit)
{
    struct splitter splitter = make("(?:a|aa)*\\d", false);
    struct splitter_match match;
    char text[64];
    memset(text, 'a', sizeof(text));

    ck_assert_int_eq(splitter_find(&splitter, work, text, sizeof(text), 0, &match), -ERANGE);
    splitter_finish(&splitter);
}
END_TEST

/* A pattern that steps back over the run, from a text that is far longer than the limit for
 * short ones. */
START_TEST(pattern_in_pcre2_splits_megabytes_of_blanks)
{
    enum { LEN = 4 << 20 };
    struct splitter splitter = make(splitter_llama3_pattern, false);
    struct splitter_match match;
    char *text = malloc(LEN);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', LEN);
    text[LEN - 1] = 'x';

    ck_assert_int_eq(splitter_find(&splitter, work, text, LEN, 0, &match), 1);
    ck_assert_uint_eq(match.end, LEN - 2);
    splitter_finish(&splitter);
    free(text);
}
END_TEST

RUN_ROWS("splitter", setup, teardown, 60,
         TIMES(hand_written_splitters_match_what_pcre2_matches, NUM_PATTERNS),
         TIMES(characters_have_the_class_that_pcre2_gives_them, 3),
         ONCE(literal_pattern_is_found_as_it_stands),
         ONCE(what_pcre2_would_read_in_another_way_is_refused),
         ONCE(hopeless_pattern_gives_up_at_its_limit),
         ONCE(pattern_in_pcre2_splits_megabytes_of_blanks))
