#include "frontend/session/stop_matcher.h"
#include "tests/unit/runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STOPS = 4 };

struct set {
    const char *stops[MAX_STOPS];
};

static uint32_t num_of(const struct set *set)
{
    uint32_t n = 0;
    while (n < MAX_STOPS && set->stops[n] != NULL)
        n++;
    return n;
}

static struct stop_matcher *make(const struct set *set)
{
    struct stop_matcher *matcher = NULL;
    size_t lens[MAX_STOPS];
    const uint32_t n = num_of(set);
    for (uint32_t i = 0; i < n; i++)
        lens[i] = strlen(set->stops[i]);
    ck_assert_int_eq(stop_matcher_create(set->stops, lens, n, &matcher), 0);
    return matcher;
}

/* The slow, obvious forms of what the automaton does. */
static size_t slow_held(const struct set *set, const char *text, size_t len)
{
    size_t held = 0;
    for (uint32_t i = 0; i < num_of(set); i++)
        for (size_t n = 1; n < strlen(set->stops[i]) && n <= len; n++)
            if (n > held && memcmp(text + len - n, set->stops[i], n) == 0)
                held = n;
    return held;
}

/* Of the strings that end in text[from, len): the earliest begin, then the earliest end. */
static bool slow_find(const struct set *set, const char *text, size_t from, size_t len,
                      size_t *ret_begin, size_t *ret_end)
{
    for (size_t begin = 0; begin < len; begin++)
        for (size_t end = begin > from ? begin : from; end++ < len;)
            for (uint32_t i = 0; i < num_of(set); i++)
                if (end - begin == strlen(set->stops[i]) &&
                    memcmp(text + begin, set->stops[i], end - begin) == 0) {
                    *ret_begin = begin;
                    *ret_end = end;
                    return true;
                }
    return false;
}

static const struct set sets[] = {
    { { "stop" } },
    { { "aab", "ab", "b" } },
    { { "abab", "ba" } },
    { { "\n\n", "\nUser:" } },
    { { "a" } },
    { { "aaaa", "aab", "bb" } },
    { { "\xE4\xBD\xA0\xE5\xA5\xBD", "\xE5\xA5\xBD!" } },
    { { "abcde", "bcd", "cde" } },
};
static const char *const texts[] = {
    "this stops here, st stop",
    "aabaabab",
    "xabababab",
    "one\nUser\n\nUser:",
    "bbbaabbb",
    "aaabaaaab",
    "\xE4\xBD\xA0\xE4\xBD\xA0\xE5\xA5\xBD!",
    "abcdbcde",
};
enum { NUM_SETS = sizeof(sets) / sizeof(sets[0]), NUM_TEXTS = sizeof(texts) / sizeof(texts[0]) };

static void check_split(const struct set *set, const char *text, size_t cut)
{
    struct stop_matcher *matcher = make(set);
    stop_matcher_state state = 0;
    const size_t len = strlen(text), borders[] = { 0, cut, len };
    for (int piece = 0; piece < 2; piece++) {
        const size_t from = borders[piece], to = borders[piece + 1];
        struct stop_match match;
        size_t begin, end;
        const bool found = stop_matcher_feed(matcher, &state, text + from, to - from, &match);
        const bool wanted = slow_find(set, text, from, to, &begin, &end);
        ck_assert_int_eq(found, wanted);
        if (found) {
            ck_assert_uint_eq(from + match.end, end);
            ck_assert_uint_eq(from + match.end - match.stop_len, begin);
            ck_assert_uint_eq(match.stop_len, strlen(set->stops[match.stop]));
        }
        ck_assert_uint_eq(stop_matcher_held(matcher, state), slow_held(set, text, to));
    }
    stop_matcher_destroy(matcher);
}

START_TEST(matches_and_held_bytes_agree_with_a_plain_search_at_every_split)
{
    const struct set *set = &sets[_i % NUM_SETS];
    const char *text = texts[_i / NUM_SETS];
    for (size_t cut = 0; cut <= strlen(text); cut++)
        check_split(set, text, cut);
}
END_TEST

START_TEST(random_strings_over_two_letters_agree_with_a_plain_search)
{
    uint32_t random = 12345;
    for (int round = 0; round < 2000; round++) {
        char stops[3][6] = { { 0 } }, text[24] = { 0 };
        struct set set = { { NULL } };
        for (int s = 0; s < 3; s++) {
            random = random * 1664525u + 1013904223u;
            const uint32_t len = 1 + (random >> 24) % 5;
            for (uint32_t i = 0; i < len; i++)
                stops[s][i] = (char)('a' + (random >> (8 + i) & 1));
            set.stops[s] = stops[s];
        }
        for (size_t i = 0; i + 1 < sizeof(text); i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = (char)('a' + (random >> 31));
        }
        check_split(&set, text, (random >> 20) % sizeof(text));
    }
}
END_TEST

START_TEST(a_string_that_is_whole_is_not_held)
{
    const struct set set = { { "end" } };
    struct stop_matcher *matcher = make(&set);
    stop_matcher_state state = 0;
    struct stop_match match;

    ck_assert(stop_matcher_feed(matcher, &state, "end", 3, &match));
    ck_assert_uint_eq(stop_matcher_held(matcher, state), 0);
    stop_matcher_destroy(matcher);
}
END_TEST

START_TEST(the_largest_allowed_set_works)
{
    static char strings[STOP_MATCHER_MAX_STRINGS][STOP_MATCHER_MAX_BYTES];
    const char *stops[STOP_MATCHER_MAX_STRINGS];
    size_t lens[STOP_MATCHER_MAX_STRINGS];
    struct stop_matcher *matcher = NULL;
    stop_matcher_state state = 0;
    struct stop_match match;
    for (int s = 0; s < STOP_MATCHER_MAX_STRINGS; s++) {
        memset(strings[s], 'a', STOP_MATCHER_MAX_BYTES);
        strings[s][STOP_MATCHER_MAX_BYTES - 1 - s] = (char)('b' + s % 20);
        stops[s] = strings[s];
        lens[s] = STOP_MATCHER_MAX_BYTES;
    }

    ck_assert_int_eq(stop_matcher_create(stops, lens, STOP_MATCHER_MAX_STRINGS, &matcher), 0);

    ck_assert(!stop_matcher_feed(matcher, &state, strings[7], STOP_MATCHER_MAX_BYTES - 1, &match));
    ck_assert(
        stop_matcher_feed(matcher, &state, strings[7] + STOP_MATCHER_MAX_BYTES - 1, 1, &match));
    ck_assert_uint_eq(match.stop, 7);
    stop_matcher_destroy(matcher);
}
END_TEST

START_TEST(sets_beyond_the_limits_are_refused)
{
    static char long_string[STOP_MATCHER_MAX_BYTES + 1];
    const char *stops[STOP_MATCHER_MAX_STRINGS + 1];
    size_t lens[STOP_MATCHER_MAX_STRINGS + 1];
    struct stop_matcher *matcher = NULL;
    for (int s = 0; s <= STOP_MATCHER_MAX_STRINGS; s++) {
        stops[s] = long_string;
        lens[s] = 1;
    }

    ck_assert_int_eq(stop_matcher_create(stops, lens, 0, &matcher), -EINVAL);
    ck_assert_int_eq(stop_matcher_create(stops, lens, STOP_MATCHER_MAX_STRINGS + 1, &matcher),
                     -EINVAL);
    lens[0] = 0;
    ck_assert_int_eq(stop_matcher_create(stops, lens, 1, &matcher), -EINVAL);
    lens[0] = sizeof(long_string);
    ck_assert_int_eq(stop_matcher_create(stops, lens, 1, &matcher), -EINVAL);
    ck_assert_ptr_null(matcher);
}
END_TEST

RUN_ROWS("stop_matcher", NULL, NULL, 60,
         TIMES(matches_and_held_bytes_agree_with_a_plain_search_at_every_split,
               NUM_SETS *NUM_TEXTS),
         ONCE(random_strings_over_two_letters_agree_with_a_plain_search),
         ONCE(a_string_that_is_whole_is_not_held), ONCE(the_largest_allowed_set_works),
         ONCE(sets_beyond_the_limits_are_refused))
