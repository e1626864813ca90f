/* Masks, biases and penalties: what a request says of single tokens. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "sampler.h"

START_TEST(banned_tokens_are_never_drawn)
{
    float from[70] = { 0 };
    uint32_t banned[3] = { ~0U, ~1U, ~0U };
    struct sample_row row = sampler_row(1.0f);
    row.banned = banned;
    const struct logit_bias bias = { .token_id = 5, .bias = 100.0f };
    row.biases = &bias;
    row.num_biases = 1;

    ck_assert_int_eq(sampler_run(from, 70, &row), 32);
    ck_assert(!sampler.bad);
    banned[1] = ~0U;
    sampler_run(from, 70, &row);
    ck_assert(sampler.bad);
}
END_TEST

START_TEST(bias_and_penalties_follow_their_formulas)
{
    float from[SAMPLER_VOCAB], changed[SAMPLER_VOCAB];
    sampler_fill(from, SAMPLER_VOCAB, 2);
    from[10] = -1.5f;
    const int32_t tokens[] = { 10, 11, 11, 12, 13, 12, 12, -1, SAMPLER_VOCAB };
    const struct logit_bias biases[] = { { 11, 3.0f }, { 20, -100.0f }, { SAMPLER_VOCAB, 1.0f } };
    struct sample_row row = sampler_row(1.0f);
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
    struct sample_row without = sampler_row(1.0f);
    for (uint32_t i = 0; i < 2000; i++) {
        row.output_pos = without.output_pos = i;
        const int32_t with_penalties = sampler_run(from, SAMPLER_VOCAB, &row);
        ck_assert_int_eq(with_penalties, sampler_run(changed, SAMPLER_VOCAB, &without));
    }
}
END_TEST

static const int32_t tokens[] = { 3, 9, 9, 60, 12, 31, 31, 12, 31, 5 };
static const struct logit_bias biases[] = { { 8, 2.5f }, { 30, -1.5f }, { 31, 1.0f }, { 9, -100 } };
static const uint32_t banned[] = { 0x00F00801u, 0x80000100u };

/* Logits of which no two are equal, before or after; most that the rules name are likely. */
static void fill_apart(float *ret_logits, uint32_t lane)
{
    static const int32_t likely[] = { 3, 8, 9, 11, 12, 30, 31, 32 };
    sampler_fill(ret_logits, SAMPLER_VOCAB, lane);
    for (int32_t i = 0; i < SAMPLER_VOCAB; i++)
        ret_logits[i] += 0.0013f * (float)i;
    for (size_t i = 0; i < sizeof(likely) / sizeof(likely[0]); i++)
        ret_logits[likely[i]] = 1.7f + 0.21f * (float)i;
}

static const struct {
    float repetition, presence, frequency;
    bool is_biased, is_masked;
    int32_t num_prompt; /* of tokens[] */
    float temperature, top_p, min_p, typical_p;
    int32_t top_k;
} rules[] = {
    { 1.6f, 0, 0, false, false, 4, 1, 1, 0, 1, 0 },
    { 0.6f, 0, 0, false, false, 0, 1, 1, 0, 1, 0 },
    { 1, 1.2f, 0, false, false, 4, 1, 1, 0, 1, 0 },
    { 1, -1.2f, 0, false, false, 4, 1, 1, 0, 1, 0 },
    { 1, 0, 0.5f, false, false, 4, 1, 1, 0, 1, 0 },
    { 1, 0, -0.4f, false, false, 0, 1, 1, 0, 1, 0 },
    { 1, 0, 0, true, false, 4, 1, 1, 0, 1, 0 },
    { 1, 0, 0, false, true, 4, 1, 1, 0, 1, 0 },
    { 1.3f, 0.5f, 0.3f, true, true, 4, 1, 1, 0, 1, 0 },
    { 1.3f, 0.5f, 0.3f, true, true, 4, 0.7f, 0.9f, 0.02f, 0.9f, 40 },
    { 1.2f, -0.5f, 0.6f, true, false, 2, 1.6f, 0.7f, 0, 1, 0 },
    { 1.2f, 0.1f, 0.1f, false, true, 9, 1.2f, 1, 0.1f, 1, 12 },
};

START_TEST(every_rule_draws_its_exact_distribution)
{
    float from[SAMPLER_VOCAB];
    fill_apart(from, 7);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct sample_row row = sampler_row(rules[i].temperature);
        row.seed = 5000 + i;
        row.tokens = tokens;
        row.num_tokens = sizeof(tokens) / sizeof(tokens[0]);
        row.num_prompt = rules[i].num_prompt;
        row.repetition_penalty = rules[i].repetition;
        row.presence_penalty = rules[i].presence;
        row.frequency_penalty = rules[i].frequency;
        row.biases = biases;
        row.num_biases = rules[i].is_biased ? sizeof(biases) / sizeof(biases[0]) : 0;
        row.banned = rules[i].is_masked ? banned : NULL;
        row.top_p = rules[i].top_p;
        row.min_p = rules[i].min_p;
        row.typical_p = rules[i].typical_p;
        row.top_k = rules[i].top_k;
        sampler_check(from, row);
    }
}
END_TEST

/* A rule that is left out is noticed: the judgement is not blind. */
START_TEST(a_distribution_without_the_rule_is_doubted)
{
    float from[SAMPLER_VOCAB];
    double p[SAMPLER_VOCAB];
    int32_t seen[SAMPLER_VOCAB] = { 0 };
    struct sample_row row = sampler_row(1.0f), without = row;
    fill_apart(from, 7);
    row.tokens = tokens;
    row.num_tokens = sizeof(tokens) / sizeof(tokens[0]);
    row.presence_penalty = 0.3f;
    oracle_probabilities(from, SAMPLER_VOCAB, &row, p);
    for (uint32_t i = 0; i < 20000; i++) {
        without.output_pos = i;
        seen[sampler_run(from, SAMPLER_VOCAB, &without)]++;
    }
    ck_assert_ptr_nonnull(oracle_doubt(seen, p, SAMPLER_VOCAB));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample_rules");
    TCase *tc = tcase_create("sample_rules");

    tcase_add_checked_fixture(tc, sampler_open, sampler_close);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, banned_tokens_are_never_drawn);
    tcase_add_test(tc, bias_and_penalties_follow_their_formulas);
    tcase_add_test(tc, every_rule_draws_its_exact_distribution);
    tcase_add_test(tc, a_distribution_without_the_rule_is_doubted);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
