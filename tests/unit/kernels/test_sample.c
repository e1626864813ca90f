#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/sample.h"

enum { VOCAB = 64, DRAWS = 20000, WIDE = 151936, MAX_LOGPROBS = 20 };

static struct sample_scratch *scratch;
static float logits[WIDE];
static bool bad;
static int32_t id, rank;
static float logprobs[1 + MAX_LOGPROBS];
static int32_t logprob_ids[1 + MAX_LOGPROBS];

static void setup(void)
{
    ck_assert_int_eq(sample_scratch_create(WIDE, &scratch), 0);
    bad = false;
}

static void teardown(void)
{
    sample_scratch_destroy(scratch);
}

/* Nothing but the temperature. */
static struct sample_row plain_row(float temperature)
{
    return (struct sample_row){ .temperature = temperature,
                                .top_p = 1.0f,
                                .typical_p = 1.0f,
                                .repetition_penalty = 1.0f,
                                .num_logprobs = -1,
                                .forced_id = -1,
                                .bad = &bad,
                                .ret_id = &id,
                                .ret_logprobs = logprobs,
                                .ret_ids = logprob_ids,
                                .ret_rank = &rank };
}

static int32_t run(const float *from, int32_t num_vocab, const struct sample_row *row)
{
    memmove(logits, from, (size_t)num_vocab * sizeof(*from));
    sample_run(scratch, logits, num_vocab, row);
    return id;
}

/* Logits without structure: about normal, some of them equal. */
static void fill(float *to, int32_t num, uint32_t lane)
{
    for (int32_t i = 0; i < num; i++) {
        float sum = -6.0f;
        for (uint32_t k = 0; k < 12; k++)
            sum += sample_uniform(77, k, (uint32_t)i, lane);
        to[i] = roundf(sum * 20.0f) / 10.0f;
    }
}

/* The same distribution the plain way: sorted, in double. */
struct candidate {
    int32_t id;
    double score, p, shift;
};

static int by_score(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->id - b->id;
}

static int by_shift(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (fabs(a->shift - b->shift) > 1e-5)
        return a->shift < b->shift ? -1 : 1;
    return a->id - b->id;
}

static void normalize(struct candidate *c, int32_t num)
{
    double sum = 0.0;
    for (int32_t i = 0; i < num; i++)
        sum += c[i].p;
    for (int32_t i = 0; i < num; i++)
        c[i].p /= sum;
}

static int32_t count_until(const struct candidate *c, int32_t num, double mass)
{
    double sum = 0.0;
    int32_t n = 0;
    while (n < num && (n == 0 || sum < mass))
        sum += c[n++].p;
    return n;
}

static int32_t keep_typical(struct candidate *c, int32_t num, double typical_p)
{
    double entropy = 0.0;
    for (int32_t i = 0; i < num; i++)
        entropy -= c[i].p * log(c[i].p);
    for (int32_t i = 0; i < num; i++)
        c[i].shift = fabs(-log(c[i].p) - entropy);
    qsort(c, (size_t)num, sizeof(*c), by_shift);
    num = count_until(c, num, typical_p);
    qsort(c, (size_t)num, sizeof(*c), by_score);
    return num;
}

static void expect(const float *from, const struct sample_row *row, double ret_p[VOCAB])
{
    struct candidate c[VOCAB];
    int32_t num = 0;
    for (int32_t i = 0; i < VOCAB; i++)
        if (isfinite(from[i]))
            c[num++] = (struct candidate){ .id = i, .score = (double)from[i] };
    qsort(c, (size_t)num, sizeof(*c), by_score);
    for (int32_t i = 0; i < num; i++)
        c[i].p = exp((c[i].score - c[0].score) / (double)row->temperature);
    if (row->top_k > 0 && row->top_k < num)
        num = row->top_k;
    normalize(c, num);
    if (row->typical_p < 1.0f)
        num = keep_typical(c, num, (double)row->typical_p);
    normalize(c, num);
    if (row->top_p < 1.0f)
        num = count_until(c, num, (double)row->top_p);
    for (int32_t i = num; i-- > 0;)
        if (c[i].p < (double)row->min_p * c[0].p)
            num = i;
    normalize(c, num);
    memset(ret_p, 0, VOCAB * sizeof(*ret_p));
    for (int32_t i = 0; i < num; i++)
        ret_p[c[i].id] = c[i].p;
}

/* Draw many times; nothing outside the expected set, and chi-square below the value that chance
 * passes once in 100,000 (Wilson and Hilferty). Seeds are fixed, so the outcome is too. */
static void check_distribution(const float *from, struct sample_row row)
{
    double expected[VOCAB], chi = 0.0, rest_p = 0.0, rest = 0.0;
    int32_t seen[VOCAB] = { 0 }, cells = 0;
    expect(from, &row, expected);
    for (uint32_t i = 0; i < DRAWS; i++) {
        row.output_pos = i;
        seen[run(from, VOCAB, &row)]++;
    }
    for (int32_t i = 0; i < VOCAB; i++) {
        ck_assert_msg(expected[i] > 0.0 || seen[i] == 0, "token %d is filtered but drawn", i);
        if (expected[i] * DRAWS < 5.0) {
            rest_p += expected[i];
            rest += seen[i];
            continue;
        }
        cells++;
        chi += pow(seen[i] - expected[i] * DRAWS, 2) / (expected[i] * DRAWS);
    }
    if (rest_p * DRAWS >= 5.0) {
        cells++;
        chi += pow(rest - rest_p * DRAWS, 2) / (rest_p * DRAWS);
    }
    const double k = cells - 1, a = 2.0 / (9.0 * k);
    ck_assert_msg(cells == 1 || chi < k * pow(1.0 - a + 4.265 * sqrt(a), 3),
                  "chi-square %g with %g degrees of freedom", chi, k);
}

START_TEST(philox_gives_the_published_words)
{
    /* Random123, tests/kat_vectors, philox4x32 with 10 rounds. */
    static const struct {
        uint32_t counter[4], key[2], words[4];
    } known[] = {
        { { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0U, ~0U, ~0U, ~0U },
          { ~0U, ~0U },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint32_t words[4];
        sample_philox(known[i].counter, known[i].key, words);
        ck_assert_mem_eq(words, known[i].words, sizeof(words));
    }
}
END_TEST

START_TEST(uniform_is_the_upper_24_bits_of_the_first_word)
{
    ck_assert(sample_uniform(0, 0, 0, 0) == (float)(0x6627e8d5 >> 8) / 16777216.0f);

    const uint32_t counter[4] = { 5, 6, 7, 0 }, key[2] = { 0x89abcdef, 0x01234567 };
    uint32_t words[4];
    sample_philox(counter, key, words);
    ck_assert(sample_uniform(0x0123456789abcdef, 5, 6, 7) == (float)(words[0] >> 8) * 0x1p-24f);
}
END_TEST

START_TEST(every_filter_draws_its_exact_distribution)
{
    static const struct {
        float temperature, top_p, min_p, typical_p;
        int32_t top_k;
    } settings[] = {
        { 1.0f, 1.0f, 0.0f, 1.0f, 0 },   { 0.5f, 1.0f, 0.0f, 1.0f, 0 },
        { 2.0f, 1.0f, 0.0f, 1.0f, -1 },  { 1.0f, 1.0f, 0.0f, 1.0f, 1 },
        { 1.0f, 1.0f, 0.0f, 1.0f, 7 },   { 1.0f, 1.0f, 0.0f, 1.0f, VOCAB + 10 },
        { 1.0f, 0.9f, 0.0f, 1.0f, 0 },   { 1.3f, 0.31f, 0.0f, 1.0f, 0 },
        { 1.0f, 1e-6f, 0.0f, 1.0f, 0 },  { 1.0f, 1.0f, 0.05f, 1.0f, 0 },
        { 1.7f, 1.0f, 0.2f, 1.0f, 0 },   { 1.0f, 1.0f, 1.0f, 1.0f, 0 },
        { 1.0f, 1.0f, 0.0f, 0.5f, 0 },   { 0.7f, 1.0f, 0.0f, 0.9f, 0 },
        { 1.0f, 0.9f, 0.02f, 0.8f, 40 }, { 1.0f, 0.5f, 0.3f, 0.95f, 20 },
    };
    float from[VOCAB];
    fill(from, VOCAB, 1);
    from[3] = from[40] = -INFINITY;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        struct sample_row row = plain_row(settings[i].temperature);
        row.seed = 1000 + i;
        row.top_p = settings[i].top_p;
        row.min_p = settings[i].min_p;
        row.typical_p = settings[i].typical_p;
        row.top_k = settings[i].top_k;
        check_distribution(from, row);
    }
    ck_assert(!bad);
}
END_TEST

/* A row of tests/golden/sample.py. */
struct golden {
    float repetition_penalty, temperature, top_k, typical_p, top_p, min_p;
    float logits[VOCAB], p[VOCAB];
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
    for (int32_t i = 0; i < VOCAB; i++) {
        const double mean = (double)p[i] * GOLDEN_DRAWS, sigma = sqrt(mean * (1.0 - (double)p[i]));
        ck_assert_msg(p[i] > 0.0f || seen[i] == 0, "case %d draws token %d", index, i);
        ck_assert_msg(fabs(seen[i] - mean) <= 6.0 * sigma + 1.0,
                      "case %d: token %d %d times, not %g", index, i, seen[i], mean);
    }
}

START_TEST(filters_leave_what_transformers_leaves)
{
    static struct golden rows[MAX_GOLDEN];
    const int32_t num = read_golden(rows);
    int32_t tokens[VOCAB], num_tokens = 0;
    for (int32_t i = 0; i < VOCAB; i += SEEN_STEP)
        tokens[num_tokens++] = i;
    for (int32_t k = 0; k < num; k++) {
        struct sample_row row = plain_row(rows[k].temperature);
        int32_t seen[VOCAB] = { 0 };
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
            seen[run(rows[k].logits, VOCAB, &row)]++;
        }
        check_counts(seen, rows[k].p, k);
    }
}
END_TEST

START_TEST(draws_of_different_choices_and_positions_are_independent)
{
    float from[VOCAB] = { 0 };
    struct sample_row row = plain_row(1.0f);
    int32_t pairs[2][2] = { 0 };
    for (uint32_t i = 0; i < DRAWS; i++) {
        row.output_pos = i;
        row.choice = 0;
        const int32_t first = run(from, 2, &row);
        row.choice = 1;
        pairs[first][run(from, 2, &row)]++;
    }
    for (int32_t i = 0; i < 4; i++)
        ck_assert_int_lt(abs(pairs[i / 2][i % 2] - DRAWS / 4), 270); /* over 4 sigma */
}
END_TEST

START_TEST(equal_logits_are_kept_by_lowest_id)
{
    static float from[WIDE];
    struct sample_row row = plain_row(1.0f);

    row.top_k = 3;
    for (uint32_t i = 0; i < 200; i++) {
        row.output_pos = i;
        ck_assert_int_lt(run(from, WIDE, &row), 3);
    }
    row.top_k = 0;
    row.top_p = 0.0001f; /* the first 16 of 151,936 are the fewest to reach it */
    int32_t highest = 0;
    for (uint32_t i = 0; i < 400; i++) {
        row.output_pos = i;
        highest = run(from, WIDE, &row) > highest ? id : highest;
    }
    ck_assert_int_eq(highest, 15);
    row.top_p = 0.0f; /* one token always is kept */
    ck_assert_int_eq(run(from, WIDE, &row), 0);
}
END_TEST

START_TEST(greedy_takes_the_lowest_of_equal_maxima)
{
    float from[VOCAB] = { 0 };
    from[9] = from[17] = from[50] = 2.0f;
    struct sample_row row = plain_row(0.0f);
    row.top_k = 1;
    row.min_p = 1.0f;

    ck_assert_int_eq(run(from, VOCAB, &row), 9);
    row.temperature = 0.9e-5f;
    ck_assert_int_eq(run(from, VOCAB, &row), 9);
    row.temperature = 1.1e-5f; /* counts as 0.01: still a draw, between the three */
    row.top_k = 0;
    int32_t others = 0;
    for (uint32_t i = 0; i < 100; i++) {
        row.output_pos = i;
        others += run(from, VOCAB, &row) != 9;
    }
    ck_assert_int_gt(others, 30);
}
END_TEST

START_TEST(extreme_logits_do_not_overflow)
{
    float from[VOCAB];
    for (int32_t i = 0; i < VOCAB; i++)
        from[i] = i == 5 ? 3e38f : -3e38f;
    struct sample_row row = plain_row(0.01f);
    row.top_p = 0.9f;
    row.typical_p = 0.9f;
    row.num_logprobs = 1;

    ck_assert_int_eq(run(from, VOCAB, &row), 5);
    ck_assert(!bad);
    ck_assert(logprobs[0] == 0.0f && logprob_ids[1] == 5);
}
END_TEST

START_TEST(a_row_without_a_choice_is_bad)
{
    static const float values[] = { NAN, INFINITY, -INFINITY };
    for (int32_t i = 0; i < 3; i++) {
        float from[VOCAB];
        for (int32_t k = 0; k < VOCAB; k++)
            from[k] = i == 2 ? -INFINITY : 1.0f;
        from[VOCAB - 1] = values[i];
        struct sample_row row = plain_row(1.0f);
        row.num_logprobs = 2;
        for (int32_t forced = -1; forced < 1; forced++) {
            row.forced_id = forced;
            bad = false;
            id = 99;
            ck_assert_int_eq(run(from, VOCAB, &row), 0);
            ck_assert(bad);
            ck_assert(isinf(logprobs[0]) && isinf(logprobs[2]) && logprob_ids[2] == -1);
        }
    }
}
END_TEST

START_TEST(banned_tokens_are_never_drawn)
{
    float from[70] = { 0 };
    uint32_t banned[3] = { ~0U, ~1U, ~0U };
    struct sample_row row = plain_row(1.0f);
    row.banned = banned;
    const struct logit_bias bias = { .token_id = 5, .bias = 100.0f };
    row.biases = &bias;
    row.num_biases = 1;

    ck_assert_int_eq(run(from, 70, &row), 32);
    ck_assert(!bad);
    banned[1] = ~0U;
    run(from, 70, &row);
    ck_assert(bad);
}
END_TEST

START_TEST(bias_and_penalties_follow_their_formulas)
{
    float from[VOCAB], changed[VOCAB];
    fill(from, VOCAB, 2);
    from[10] = -1.5f;
    const int32_t tokens[] = { 10, 11, 11, 12, 13, 12, 12, -1, VOCAB };
    const struct logit_bias biases[] = { { 11, 3.0f }, { 20, -100.0f }, { VOCAB, 1.0f } };
    struct sample_row row = plain_row(1.0f);
    row.tokens = tokens;
    row.num_prompt = 4;
    row.num_tokens = 9;
    row.biases = biases;
    row.num_biases = 3;
    row.repetition_penalty = 1.25f;
    row.frequency_penalty = 0.5f;
    row.presence_penalty = -0.75f;

    memcpy(changed, from, sizeof(from));
    changed[11] += 3.0f;
    changed[20] -= 100.0f;
    for (int32_t i = 10; i <= 13; i++)
        changed[i] = changed[i] > 0.0f ? changed[i] / 1.25f : changed[i] * 1.25f;
    changed[12] -= 2 * 0.5f - 0.75f;
    changed[13] -= 0.5f - 0.75f;
    struct sample_row without = plain_row(1.0f);
    for (uint32_t i = 0; i < 2000; i++) {
        row.output_pos = without.output_pos = i;
        const int32_t with_penalties = run(from, VOCAB, &row);
        ck_assert_int_eq(with_penalties, run(changed, VOCAB, &without));
    }
}
END_TEST

START_TEST(logprobs_are_those_of_the_raw_logits)
{
    float from[VOCAB];
    double sum = 0.0;
    fill(from, VOCAB, 3);
    from[7] = -INFINITY;
    from[30] = from[31] = 9.0f;
    for (int32_t i = 0; i < VOCAB; i++)
        sum += exp((double)from[i]);
    const struct logit_bias bias = { .token_id = 30, .bias = -100.0f };
    struct sample_row row = plain_row(0.0f);
    row.biases = &bias;
    row.num_biases = 1;
    row.num_logprobs = 5;

    ck_assert_int_eq(run(from, VOCAB, &row), 31);
    ck_assert_int_eq(rank, 2);
    ck_assert_int_eq(logprob_ids[0], 31);
    ck_assert_int_eq(logprob_ids[1], 30);
    ck_assert_int_eq(logprob_ids[2], 31);
    for (int32_t i = 0; i <= 5; i++)
        ck_assert_double_eq_tol((double)logprobs[i], (double)from[logprob_ids[i]] - log(sum), 1e-6);
    for (int32_t i = 2; i <= 5; i++)
        ck_assert(logprobs[i] <= logprobs[i - 1]);
}
END_TEST

START_TEST(a_forced_token_gets_its_logprob_and_rank)
{
    float from[VOCAB];
    for (int32_t i = 0; i < VOCAB; i++)
        from[i] = (float)-i;
    from[20] = from[19];
    struct sample_row row = plain_row(1.0f);
    row.forced_id = 20;
    row.num_logprobs = 0;

    ck_assert_int_eq(run(from, VOCAB, &row), 20);
    ck_assert_int_eq(rank, 21);
    ck_assert_double_eq_tol((double)logprobs[0], -19.0 + log(1.0 - exp(-1.0)), 1e-6);
    row.forced_id = VOCAB;
    run(from, VOCAB, &row);
    ck_assert(bad);
}
END_TEST

START_TEST(more_logprobs_than_tokens_end_with_no_id)
{
    const float from[3] = { 1.0f, -INFINITY, 2.0f };
    struct sample_row row = plain_row(0.0f);
    row.num_logprobs = 5;

    ck_assert_int_eq(run(from, 3, &row), 2);
    const int32_t ids[] = { 2, 2, 0, 1, -1, -1 };
    ck_assert_mem_eq(logprob_ids, ids, sizeof(ids));
    ck_assert(isinf(logprobs[3]) && isinf(logprobs[5]));
}
END_TEST

START_TEST(a_wide_vocabulary_agrees_with_a_sorted_one)
{
    static float from[WIDE];
    fill(from, WIDE, 4);
    struct sample_row row = plain_row(1.0f);
    row.top_p = 0.5f;
    float least = INFINITY, most_dropped = -INFINITY;
    double kept = 0.0, all = 0.0;
    for (uint32_t i = 0; i < 300; i++) {
        row.output_pos = i;
        least = fminf(least, from[run(from, WIDE, &row)]);
    }
    for (int32_t i = 0; i < WIDE; i++) {
        all += exp((double)from[i]);
        kept += from[i] > least ? exp((double)from[i]) : 0.0;
        most_dropped = from[i] < least ? fmaxf(most_dropped, from[i]) : most_dropped;
    }
    ck_assert_double_lt(kept / all, 0.5); /* without the least level it is not enough */
    for (int32_t i = 0; i < WIDE; i++)
        kept += from[i] == least ? exp((double)from[i]) : 0.0;
    ck_assert_double_ge(kept / all, 0.5);
    ck_assert(most_dropped < least);
}
END_TEST

START_TEST(a_row_is_not_changed_by_the_row_before_it)
{
    float from[VOCAB];
    fill(from, VOCAB, 5);
    const int32_t tokens[] = { 1, 2, 3 };
    struct sample_row other = plain_row(0.3f), row = plain_row(1.0f);
    other.tokens = tokens;
    other.num_tokens = 3;
    other.repetition_penalty = 2.0f;
    other.frequency_penalty = 2.0f;
    other.typical_p = 0.3f;
    row.frequency_penalty = 1.0f;
    row.tokens = tokens + 2;
    row.num_tokens = 1;
    row.min_p = 0.01f;
    for (uint32_t i = 0; i < 500; i++) {
        row.output_pos = i;
        const int32_t alone = run(from, VOCAB, &row);
        run(from, VOCAB / 2, &other);
        ck_assert_int_eq(run(from, VOCAB, &row), alone);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample");
    TCase *tc = tcase_create("sample");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, philox_gives_the_published_words);
    tcase_add_test(tc, uniform_is_the_upper_24_bits_of_the_first_word);
    tcase_add_test(tc, every_filter_draws_its_exact_distribution);
    tcase_add_test(tc, filters_leave_what_transformers_leaves);
    tcase_add_test(tc, draws_of_different_choices_and_positions_are_independent);
    tcase_add_test(tc, equal_logits_are_kept_by_lowest_id);
    tcase_add_test(tc, greedy_takes_the_lowest_of_equal_maxima);
    tcase_add_test(tc, extreme_logits_do_not_overflow);
    tcase_add_test(tc, a_row_without_a_choice_is_bad);
    tcase_add_test(tc, banned_tokens_are_never_drawn);
    tcase_add_test(tc, bias_and_penalties_follow_their_formulas);
    tcase_add_test(tc, logprobs_are_those_of_the_raw_logits);
    tcase_add_test(tc, a_forced_token_gets_its_logprob_and_rank);
    tcase_add_test(tc, more_logprobs_than_tokens_end_with_no_id);
    tcase_add_test(tc, a_wide_vocabulary_agrees_with_a_sorted_one);
    tcase_add_test(tc, a_row_is_not_changed_by_the_row_before_it);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
