/* Random numbers, the greedy choice, log-probabilities, rows that cannot be sampled. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "sampler.h"

enum { NUM_DRAWS = 20000 };

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

START_TEST(draws_of_different_choices_and_positions_are_independent)
{
    float from[SAMPLER_VOCAB] = { 0 };
    struct sample_row row = sampler_row(1.0f);
    int32_t pairs[2][2] = { 0 };
    for (uint32_t i = 0; i < NUM_DRAWS; i++) {
        row.output_pos = i;
        row.choice = 0;
        const int32_t first = sampler_run(from, 2, &row);
        row.choice = 1;
        pairs[first][sampler_run(from, 2, &row)]++;
    }
    for (int32_t i = 0; i < 4; i++)
        ck_assert_int_lt(abs(pairs[i / 2][i % 2] - NUM_DRAWS / 4), 270); /* over 4 sigma */
}
END_TEST

START_TEST(a_draw_has_the_number_of_its_seed_choice_and_position)
{
    float from[SAMPLER_VOCAB];
    double p[SAMPLER_VOCAB];
    struct sample_row row = sampler_row(1.0f);
    sampler_fill(from, SAMPLER_VOCAB, 6);
    oracle_probabilities(from, SAMPLER_VOCAB, &row, p);
    int32_t with_others = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        row.seed = (uint64_t)(i % 7) << 32 | i % 11;
        row.choice = i % 5;
        row.output_pos = i % 13;
        const int32_t id = sampler_run(from, SAMPLER_VOCAB, &row);
        ck_assert(oracle_explains(p, SAMPLER_VOCAB,
                                  sample_uniform(row.seed, row.choice, row.output_pos, 0), id));
        with_others += oracle_explains(p, SAMPLER_VOCAB,
                                       sample_uniform(row.seed, row.output_pos, row.choice, 0), id);
    }
    ck_assert_int_lt(with_others, 4000 / 3); /* swapped keys explain little */
}
END_TEST

START_TEST(greedy_takes_the_lowest_of_equal_maxima)
{
    float from[SAMPLER_VOCAB] = { 0 };
    from[9] = from[17] = from[50] = 2.0f;
    struct sample_row row = sampler_row(0.0f);
    row.top_k = 1;
    row.min_p = 1.0f;

    ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), 9);
    row.temperature = 0.9e-5f;
    ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), 9);
    row.temperature = 1.1e-5f; /* counts as 0.01: still a draw, between the three */
    row.top_k = 0;
    int32_t others = 0;
    for (uint32_t i = 0; i < 100; i++) {
        row.output_pos = i;
        others += sampler_run(from, SAMPLER_VOCAB, &row) != 9;
    }
    ck_assert_int_gt(others, 30);
}
END_TEST

START_TEST(extreme_logits_do_not_overflow)
{
    float from[SAMPLER_VOCAB];
    for (int32_t i = 0; i < SAMPLER_VOCAB; i++)
        from[i] = i == 5 ? 3e38f : -3e38f;
    struct sample_row row = sampler_row(0.01f);
    row.top_p = 0.9f;
    row.typical_p = 0.9f;
    row.num_logprobs = 1;

    ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), 5);
    ck_assert(!sampler.bad);
    ck_assert(sampler.logprobs[0] == 0.0f && sampler.logprob_ids[1] == 5);
}
END_TEST

START_TEST(a_row_without_a_choice_is_bad)
{
    static const float values[] = { NAN, INFINITY, -INFINITY };
    for (int32_t i = 0; i < 3; i++) {
        float from[SAMPLER_VOCAB];
        for (int32_t k = 0; k < SAMPLER_VOCAB; k++)
            from[k] = i == 2 ? -INFINITY : 1.0f;
        from[SAMPLER_VOCAB - 1] = values[i];
        struct sample_row row = sampler_row(1.0f);
        row.num_logprobs = 2;
        for (int32_t forced = -1; forced < 1; forced++) {
            row.forced_id = forced;
            sampler.bad = false;
            sampler.id = 99;
            ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), 0);
            ck_assert(sampler.bad);
            ck_assert(isinf(sampler.logprobs[0]) && isinf(sampler.logprobs[2]) &&
                      sampler.logprob_ids[2] == -1);
        }
    }
}
END_TEST

START_TEST(logprobs_are_those_of_the_raw_logits)
{
    float from[SAMPLER_VOCAB];
    double sum = 0.0;
    sampler_fill(from, SAMPLER_VOCAB, 3);
    from[7] = -INFINITY;
    from[30] = from[31] = 9.0f;
    for (int32_t i = 0; i < SAMPLER_VOCAB; i++)
        sum += exp((double)from[i]);
    const struct logit_bias bias = { .token_id = 30, .bias = -100.0f };
    struct sample_row row = sampler_row(0.0f);
    row.biases = &bias;
    row.num_biases = 1;
    row.num_logprobs = 5;

    ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), 31);
    ck_assert_int_eq(sampler.rank, 2);
    ck_assert_int_eq(sampler.logprob_ids[0], 31);
    ck_assert_int_eq(sampler.logprob_ids[1], 30);
    ck_assert_int_eq(sampler.logprob_ids[2], 31);
    for (int32_t i = 0; i <= 5; i++)
        ck_assert_double_eq_tol((double)sampler.logprobs[i],
                                (double)from[sampler.logprob_ids[i]] - log(sum), 1e-6);
    for (int32_t i = 2; i <= 5; i++)
        ck_assert(sampler.logprobs[i] <= sampler.logprobs[i - 1]);
}
END_TEST

START_TEST(a_forced_token_gets_its_logprob_and_rank)
{
    float from[SAMPLER_VOCAB];
    for (int32_t i = 0; i < SAMPLER_VOCAB; i++)
        from[i] = (float)-i;
    from[20] = from[19];
    struct sample_row row = sampler_row(1.0f);
    row.forced_id = 20;
    row.num_logprobs = 0;

    ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), 20);
    ck_assert_int_eq(sampler.rank, 21);
    ck_assert_double_eq_tol((double)sampler.logprobs[0], -19.0 + log(1.0 - exp(-1.0)), 1e-6);
    row.forced_id = SAMPLER_VOCAB;
    sampler_run(from, SAMPLER_VOCAB, &row);
    ck_assert(sampler.bad);
}
END_TEST

START_TEST(more_logprobs_than_tokens_end_with_no_id)
{
    const float from[3] = { 1.0f, -INFINITY, 2.0f };
    struct sample_row row = sampler_row(0.0f);
    row.num_logprobs = 5;

    ck_assert_int_eq(sampler_run(from, 3, &row), 2);
    const int32_t ids[] = { 2, 2, 0, 1, -1, -1 };
    ck_assert_mem_eq(sampler.logprob_ids, ids, sizeof(ids));
    ck_assert(isinf(sampler.logprobs[3]) && isinf(sampler.logprobs[5]));
}
END_TEST

START_TEST(a_row_is_not_changed_by_the_row_before_it)
{
    float from[SAMPLER_VOCAB];
    sampler_fill(from, SAMPLER_VOCAB, 5);
    const int32_t tokens[] = { 1, 2, 3 };
    struct sample_row other = sampler_row(0.3f), row = sampler_row(1.0f);
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
        const int32_t alone = sampler_run(from, SAMPLER_VOCAB, &row);
        sampler_run(from, SAMPLER_VOCAB / 2, &other);
        ck_assert_int_eq(sampler_run(from, SAMPLER_VOCAB, &row), alone);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample");
    TCase *tc = tcase_create("sample");

    tcase_add_checked_fixture(tc, sampler_open, sampler_close);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, philox_gives_the_published_words);
    tcase_add_test(tc, uniform_is_the_upper_24_bits_of_the_first_word);
    tcase_add_test(tc, draws_of_different_choices_and_positions_are_independent);
    tcase_add_test(tc, a_draw_has_the_number_of_its_seed_choice_and_position);
    tcase_add_test(tc, greedy_takes_the_lowest_of_equal_maxima);
    tcase_add_test(tc, extreme_logits_do_not_overflow);
    tcase_add_test(tc, a_row_without_a_choice_is_bad);
    tcase_add_test(tc, logprobs_are_those_of_the_raw_logits);
    tcase_add_test(tc, a_forced_token_gets_its_logprob_and_rank);
    tcase_add_test(tc, more_logprobs_than_tokens_end_with_no_id);
    tcase_add_test(tc, a_row_is_not_changed_by_the_row_before_it);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
