/* Temperature, top_k, typical_p, top_p and min_p: distributions, exact and as transformers has
 * them. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

/* A row of tests/golden/sample.py. */
struct golden {
    float repetition_penalty, temperature, top_k, typical_p, top_p, min_p;
    float logits[SAMPLER_VOCAB], p[SAMPLER_VOCAB];
};
enum { MAX_GOLDEN = 256, GOLDEN_DRAWS = 4000, SEEN_STEP = 3 };

static int32_t read_golden(struct golden *rows)
{
    FILE *file = fopen(GOLDEN "/sample/cases.f32", "rb");
    ck_assert_ptr_nonnull(file);
    const size_t num = fread(rows, sizeof(*rows), MAX_GOLDEN, file);
    ck_assert_int_eq(fgetc(file), EOF);
    fclose(file);
    ck_assert_uint_gt(num, 0);
    return (int32_t)num;
}

/* Nothing drawn that was filtered, every likely token drawn, each as often as 6 sigma allow. */
static void check_counts(const int32_t *seen, const float *p, int32_t index)
{
    for (int32_t i = 0; i < SAMPLER_VOCAB; i++) {
        const double mean = (double)p[i] * GOLDEN_DRAWS, sigma = sqrt(mean * (1.0 - (double)p[i]));
        ck_assert_msg(p[i] > 0.0f || seen[i] == 0, "case %d draws token %d", index, i);
        ck_assert_msg(fabs(seen[i] - mean) <= 6.0 * sigma + 1.0,
                      "case %d: token %d %d times, not %g", index, i, seen[i], mean);
    }
}

START_TEST(every_filter_draws_its_exact_distribution)
{
    static const struct {
        float temperature, top_p, min_p, typical_p;
        int32_t top_k;
    } settings[] = {
        { 1.0f, 1.0f, 0.0f, 1.0f, 0 },   { 0.5f, 1.0f, 0.0f, 1.0f, 0 },
        { 2.0f, 1.0f, 0.0f, 1.0f, -1 },  { 1.0f, 1.0f, 0.0f, 1.0f, 1 },
        { 1.0f, 1.0f, 0.0f, 1.0f, 7 },   { 1.0f, 1.0f, 0.0f, 1.0f, SAMPLER_VOCAB + 10 },
        { 1.0f, 0.9f, 0.0f, 1.0f, 0 },   { 1.3f, 0.31f, 0.0f, 1.0f, 0 },
        { 1.0f, 1e-6f, 0.0f, 1.0f, 0 },  { 1.0f, 1.0f, 0.05f, 1.0f, 0 },
        { 1.7f, 1.0f, 0.2f, 1.0f, 0 },   { 1.0f, 1.0f, 1.0f, 1.0f, 0 },
        { 1.0f, 1.0f, 0.0f, 0.5f, 0 },   { 0.7f, 1.0f, 0.0f, 0.9f, 0 },
        { 1.0f, 0.9f, 0.02f, 0.8f, 40 }, { 1.0f, 0.5f, 0.3f, 0.95f, 20 },
    };
    float from[SAMPLER_VOCAB];
    sampler_fill(from, SAMPLER_VOCAB, 1);
    from[3] = from[40] = -INFINITY;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        struct sample_row row = sampler_row(settings[i].temperature);
        row.seed = 1000 + i;
        row.top_p = settings[i].top_p;
        row.min_p = settings[i].min_p;
        row.typical_p = settings[i].typical_p;
        row.top_k = settings[i].top_k;
        sampler_check(from, row);
    }
    ck_assert(!sampler.bad);
}
END_TEST

START_TEST(filters_leave_what_transformers_leaves)
{
    static struct golden rows[MAX_GOLDEN];
    const int32_t num = read_golden(rows);
    int32_t tokens[SAMPLER_VOCAB], num_tokens = 0;
    for (int32_t i = 0; i < SAMPLER_VOCAB; i += SEEN_STEP)
        tokens[num_tokens++] = i;
    for (int32_t k = 0; k < num; k++) {
        struct sample_row row = sampler_row(rows[k].temperature);
        int32_t seen[SAMPLER_VOCAB] = { 0 };
        row.seed = (uint64_t)k;
        row.tokens = tokens;
        row.num_tokens = row.num_prompt = num_tokens;
        row.repetition_penalty = rows[k].repetition_penalty;
        row.top_k = (int32_t)rows[k].top_k;
        row.typical_p = rows[k].typical_p;
        row.top_p = rows[k].top_p;
        row.min_p = rows[k].min_p;
        for (uint32_t i = 0; i < GOLDEN_DRAWS; i++) {
            row.output_pos = i;
            seen[sampler_run(rows[k].logits, SAMPLER_VOCAB, &row)]++;
        }
        check_counts(seen, rows[k].p, k);
    }
}
END_TEST

START_TEST(equal_logits_are_kept_by_lowest_id)
{
    static float from[SAMPLER_WIDE];
    struct sample_row row = sampler_row(1.0f);

    row.top_k = 3;
    for (uint32_t i = 0; i < 200; i++) {
        row.output_pos = i;
        ck_assert_int_lt(sampler_run(from, SAMPLER_WIDE, &row), 3);
    }
    row.top_k = 0;
    row.top_p = 0.0001f; /* the first 16 of 151,936 are the fewest to reach it */
    int32_t highest = 0;
    for (uint32_t i = 0; i < 400; i++) {
        row.output_pos = i;
        highest = sampler_run(from, SAMPLER_WIDE, &row) > highest ? sampler.id : highest;
    }
    ck_assert_int_eq(highest, 15);
    row.top_p = 0.0f; /* one token always is kept */
    ck_assert_int_eq(sampler_run(from, SAMPLER_WIDE, &row), 0);
}
END_TEST

START_TEST(a_wide_vocabulary_agrees_with_a_sorted_one)
{
    static float from[SAMPLER_WIDE];
    sampler_fill(from, SAMPLER_WIDE, 4);
    struct sample_row row = sampler_row(1.0f);
    row.top_p = 0.5f;
    float least = INFINITY, most_dropped = -INFINITY;
    double kept = 0.0, all = 0.0;
    for (uint32_t i = 0; i < 300; i++) {
        row.output_pos = i;
        least = fminf(least, from[sampler_run(from, SAMPLER_WIDE, &row)]);
    }
    for (int32_t i = 0; i < SAMPLER_WIDE; i++) {
        all += exp((double)from[i]);
        kept += from[i] > least ? exp((double)from[i]) : 0.0;
        most_dropped = from[i] < least ? fmaxf(most_dropped, from[i]) : most_dropped;
    }
    ck_assert_double_lt(kept / all, 0.5); /* without the least level it is not enough */
    for (int32_t i = 0; i < SAMPLER_WIDE; i++)
        kept += from[i] == least ? exp((double)from[i]) : 0.0;
    ck_assert_double_ge(kept / all, 0.5);
    ck_assert(most_dropped < least);
}
END_TEST

/* Neighbouring floats: a draw comes from every twentieth of those that are kept, and from no other.
 */
static void check_close(struct sample_row row, int32_t num, int32_t kept)
{
    enum { DRAWS = 2000 };
    float logits[4096];
    bool seen[20] = { false };
    for (int32_t i = 0; i < num; i++) {
        const uint32_t bits = 0x40800000U + (uint32_t)i; /* 4 and a little more */
        memcpy(&logits[i], &bits, sizeof(bits));
    }
    for (int32_t i = 0; i < DRAWS; i++) {
        row.output_pos = (uint32_t)i;
        const int32_t place = sampler_run(logits, num, &row) - (num - kept);
        ck_assert_msg(place >= 0, "%d of %d: token %d is drawn", kept, num, place + num - kept);
        seen[place * 20 / kept] = true;
    }
    for (int32_t i = 0; i < 20; i++)
        ck_assert_msg(seen[i], "%d of %d: none of part %d is drawn", kept, num, i);
}

START_TEST(logits_that_lie_close_are_counted_once)
{
    struct sample_row by_number = sampler_row(1.0f), by_weight = sampler_row(1.0f);
    by_number.top_k = 1500;
    check_close(by_number, 4096, 1500);
    by_number.top_k = 3100;
    check_close(by_number, 4000, 3100);
    by_weight.top_p = 0.75f;
    check_close(by_weight, 4096, 3072);
    by_weight.top_p = 0.375f;
    check_close(by_weight, 4096, 1536);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample_filters");
    TCase *tc = tcase_create("sample_filters");

    tcase_add_checked_fixture(tc, sampler_open, sampler_close);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_filter_draws_its_exact_distribution);
    tcase_add_test(tc, filters_leave_what_transformers_leaves);
    tcase_add_test(tc, equal_logits_are_kept_by_lowest_id);
    tcase_add_test(tc, a_wide_vocabulary_agrees_with_a_sorted_one);
    tcase_add_test(tc, logits_that_lie_close_are_counted_once);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
