#include "proto/records/stats.h"

#include <stdlib.h>
#include <string.h>

#include "shm/status.h"
#include "tests/unit/runner.h"

static _Atomic uint64_t words[STATUS_WORDS], kept[STATUS_WORDS];

static void setup(void)
{
    for (int i = 0; i < STATUS_WORDS; i++)
        words[i] = kept[i] = 0;
}

START_TEST(every_row_is_named_and_has_words_of_its_own)
{
    int32_t next = 0;
    for (int32_t stat = 0; stat < STAT_NUM; stat++) {
        const struct stat_row *row = &stat_rows[stat];
        const bool histogram = row->type >= STAT_HISTOGRAM_SECONDS;
        ck_assert_ptr_nonnull(row->name);
        ck_assert_ptr_nonnull(row->help);
        ck_assert_int_eq(row->buckets != NULL, histogram);
        ck_assert_int_eq(stat_num_words((enum stat_id)stat), histogram ? row->num_buckets + 3 : 1);
        ck_assert_int_eq(stat_word((enum stat_id)stat), next);
        next += stat_num_words((enum stat_id)stat);
    }
    ck_assert_int_le(next, STATUS_WORDS);
}
END_TEST

START_TEST(names_are_those_of_dashboards_or_our_own)
{
    for (int32_t stat = 0; stat < STAT_NUM; stat++) {
        const char *name = stat_rows[stat].name;
        const size_t len = strlen(name);
        const bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
        ck_assert_msg(strncmp(name, "vllm:", 5) == 0 || strncmp(name, "tokenring_", 10) == 0 ||
                          strncmp(name, "http_", 5) == 0,
                      "%s", name);
        if (stat_rows[stat].type == STAT_COUNTER)
            ck_assert_msg(total, "%s", name);
        for (int32_t other = 0; other < stat; other++)
            if (strcmp(name, stat_rows[other].name) == 0) { /* one family: labels tell apart */
                ck_assert_str_ne(stat_rows[stat].labels, stat_rows[other].labels);
                ck_assert_str_eq(stat_rows[stat].help, stat_rows[other].help);
                ck_assert_int_eq(stat_rows[stat].type, stat_rows[other].type);
            }
    }
}
END_TEST

START_TEST(buckets_rise)
{
    for (int32_t stat = 0; stat < STAT_NUM; stat++)
        for (int32_t i = 1; i < stat_rows[stat].num_buckets; i++)
            ck_assert_double_gt(stat_rows[stat].buckets[i], stat_rows[stat].buckets[i - 1]);
}
END_TEST

START_TEST(counters_add_and_gauges_are_set)
{
    stat_add(words, STAT_PROMPT_TOKENS, 5);
    stat_add(words, STAT_PROMPT_TOKENS, 7);
    stat_set(words, STAT_INFLIGHT, 9);
    stat_set(words, STAT_INFLIGHT, 4);

    ck_assert_uint_eq(words[stat_word(STAT_PROMPT_TOKENS)], 12);
    ck_assert_uint_eq(words[stat_word(STAT_INFLIGHT)], 4);
}
END_TEST

START_TEST(observations_fall_into_the_bucket_whose_bound_they_do_not_pass)
{
    const int32_t first = stat_word(STAT_TTFT_SECONDS);
    const int32_t num = stat_rows[STAT_TTFT_SECONDS].num_buckets;

    stat_observe_us(words, STAT_TTFT_SECONDS, 1000); /* exactly the first bound, 0.001 */
    stat_observe_us(words, STAT_TTFT_SECONDS, 1001);
    stat_observe_us(words, STAT_TTFT_SECONDS, -5);
    stat_observe_us(words, STAT_TTFT_SECONDS, INT64_MAX);

    ck_assert_int_eq(num, 22);
    ck_assert_uint_eq(words[first], 2);
    ck_assert_uint_eq(words[first + 1], 1);
    ck_assert_uint_eq(words[first + num], 1); /* +Inf */
    ck_assert_uint_eq(words[first + num + 1], 2001 + (uint64_t)INT64_MAX);
    ck_assert_uint_eq(words[first + num + 2], 4);

    stat_observe(words, STAT_REQUEST_PROMPT_TOKENS, 3);
    ck_assert_uint_eq(words[stat_word(STAT_REQUEST_PROMPT_TOKENS) + 2], 1); /* 2 < 3 <= 5 */
}
END_TEST

START_TEST(an_ended_process_leaves_its_counters_and_not_its_gauges)
{
    stat_add(words, STAT_PROMPT_TOKENS, 5);
    stat_set(words, STAT_INFLIGHT, 9);
    stat_observe(words, STAT_REQUEST_N, 4);
    stat_keep(kept, words);
    stat_keep(kept, words);

    const int32_t n = stat_word(STAT_REQUEST_N);
    ck_assert_uint_eq(kept[stat_word(STAT_PROMPT_TOKENS)], 10);
    ck_assert_uint_eq(kept[stat_word(STAT_INFLIGHT)], 0);
    ck_assert_uint_eq(kept[n + 2], 2);
    ck_assert_uint_eq(kept[n + stat_rows[STAT_REQUEST_N].num_buckets + 1], 8);
    ck_assert_uint_eq(kept[n + stat_rows[STAT_REQUEST_N].num_buckets + 2], 2);
}
END_TEST

RUN_SUITE_AROUND("stats", setup, NULL, every_row_is_named_and_has_words_of_its_own,
                 names_are_those_of_dashboards_or_our_own, buckets_rise,
                 counters_add_and_gauges_are_set,
                 observations_fall_into_the_bucket_whose_bound_they_do_not_pass,
                 an_ended_process_leaves_its_counters_and_not_its_gauges)
