/* The first law within a tensor parallel degree: a leader and its followers, as threads. KV heads
 * shared out evenly, unevenly many vocabulary columns, and KV heads that several ranks hold. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "law1.h"

static const struct {
    const char *model;
    int32_t num_ranks;
} degrees[] = { { "ringlet", 2 },          { "gqa_mixed", 3 },
                { "gqa_bf16_llama3", 4 },  { "gemma3_two_ropes", 2 }, /* with windows */
                { "mixtral_gqa_bf16", 2 }, { "deepseek_v2_lite", 2 } };
enum { NUM_DEGREES = sizeof(degrees) / sizeof(degrees[0]), NUM_RANDOM = 6 };

static void prepare(void)
{
    for (int32_t i = 0; i < NUM_DEGREES; i++) {
        const struct law1_case c =
            law1_usual(law1_model_named(degrees[i].model), DTYPE_F16, degrees[i].num_ranks);
        law1_prepare(&c);
    }
}

static struct law1_case some_of(int i)
{
    struct law1_case c =
        law1_usual(law1_model_named(degrees[i].model), DTYPE_F16, degrees[i].num_ranks);
    c.num = c.batch = 10;
    c.chunk = 64;
    c.start = LAW1_COLD;
    c.plans_ahead = true;
    return c;
}

START_TEST(in_batches_and_chunks)
{
    static const int32_t chunks[] = { 512, 17, 7 };
    struct law1_case c = some_of(_i);
    for (int k = 0; k < 3; k++) {
        c.chunk = chunks[k];
        c.batch = c.num = k == 0 ? 64 : 6;
        c.kv_dtype = k == 1 ? law1_kv_types[1 + _i % (LAW1_NUM_KV_TYPES - 1)] : DTYPE_F16;
        law1_check(&c);
    }
}
END_TEST

START_TEST(on_two_threads_each_and_logits_not_watched)
{
    struct law1_case c = some_of(_i);
    c.num = c.batch = 4;
    c.num_threads = 2;
    c.is_watched = false;
    law1_check(&c);
    c.plans_ahead = false;
    law1_check(&c);
}
END_TEST

START_TEST(with_parts_or_all_of_the_prompts_cached)
{
    struct law1_case c = some_of(_i);
    c.first = 20;
    for (c.start = LAW1_PARTIAL; c.start <= LAW1_WHOLE; c.start++)
        law1_check(&c);
}
END_TEST

START_TEST(preempted_five_times)
{
    struct law1_case c = some_of(_i);
    c.first = 8;
    c.num = c.batch = 3;
    c.pest = LAW1_FEW_SEATS;
    c.num_seqs = 8;
    law1_check(&c);
    c.pest = LAW1_TINY_POOL;
    law1_check(&c);
}
END_TEST

START_TEST(after_restarts)
{
    struct law1_case c = some_of(_i);
    c.num_restarts = 2;
    law1_check(&c);
}
END_TEST

START_TEST(under_circumstances_of_chance)
{
    const uint32_t number = (uint32_t)(_i / NUM_DEGREES);
    struct law1_case c = law1_random(law1_seed() + 1, number, degrees[_i % NUM_DEGREES].num_ranks);
    c.model = law1_model_named(degrees[_i % NUM_DEGREES].model);
    c.kv_dtype = DTYPE_F16;
    c.num_threads = 1;
    c.num = c.num < 8 ? c.num : 8;
    c.batch = c.batch < 8 ? c.batch : 8;
    law1_check(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("law1_ranks");
    TCase *tc = tcase_create("law1_ranks");

    printf("LAW1_SEED=%" PRIu64 "\n", law1_seed());
    tcase_set_timeout(tc, 120);
    tcase_add_unchecked_fixture(tc, prepare, NULL);
    tcase_add_loop_test(tc, in_batches_and_chunks, 0, NUM_DEGREES);
    tcase_add_loop_test(tc, on_two_threads_each_and_logits_not_watched, 0, NUM_DEGREES);
    tcase_add_loop_test(tc, with_parts_or_all_of_the_prompts_cached, 0, NUM_DEGREES);
    tcase_add_loop_test(tc, preempted_five_times, 0, NUM_DEGREES);
    tcase_add_loop_test(tc, after_restarts, 0, NUM_DEGREES);
    tcase_add_loop_test(tc, under_circumstances_of_chance, 0, NUM_DEGREES * NUM_RANDOM);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
