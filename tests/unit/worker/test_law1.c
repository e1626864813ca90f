/* The first law, one circumstance at a time: two models, keys and values of every type. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "law1.h"

static const int32_t chunks[] = { 1, 2, 7, 16, 17, 64, 512 };
enum { NUM_CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };

/* Of a loop over types, and models: three types of the first, two of the second. */
enum { NUM_LOOPS = LAW1_NUM_KV_TYPES };

static void prepare(void)
{
    for (int i = 0; i < NUM_LOOPS; i++) {
        const struct law1_case c = law1_usual(i % 2, law1_kv_types[i], 1);
        law1_prepare(&c);
    }
}

/* A batch of some. */
static struct law1_case some_of(int i)
{
    struct law1_case c = law1_usual(i % 2, law1_kv_types[i], 1);
    c.num = c.batch = 12;
    c.chunk = 64;
    c.num_threads = 1 + i % 2;
    c.start = LAW1_COLD;
    c.plans_ahead = true;
    return c;
}

START_TEST(alone_and_in_a_batch_of_64)
{
    struct law1_case c = some_of(_i);
    c.num = c.batch = 64;
    law1_check(&c);
    c.num_seqs = 5;
    c.is_staggered = true;
    c.is_watched = false;
    law1_check(&c);
}
END_TEST

START_TEST(in_chunks_of_1_to_512)
{
    struct law1_case c = some_of(_i / NUM_CHUNKS);
    c.first = _i % NUM_CHUNKS * 9;
    c.chunk = chunks[_i % NUM_CHUNKS];
    law1_check(&c);
}
END_TEST

START_TEST(on_1_to_4_threads)
{
    struct law1_case c = some_of(_i);
    for (c.num_threads = 1; c.num_threads <= 4; c.num_threads++)
        law1_check(&c);
}
END_TEST

START_TEST(cold_and_with_parts_or_all_of_the_prompts_cached)
{
    struct law1_case c = some_of(_i);
    c.num = 24;
    for (c.start = LAW1_OFF; c.start < LAW1_NUM_STARTS; c.start++)
        law1_check(&c);
}
END_TEST

START_TEST(never_preempted_and_preempted_five_times)
{
    struct law1_case c = some_of(_i);
    c.num = c.batch = 6;
    c.num_seqs = 12;
    c.pest = LAW1_FEW_SEATS;
    law1_check(&c);
    c.pest = LAW1_TINY_POOL;
    c.num = c.batch = 3;
    law1_check(&c);
    c.start = LAW1_OFF;
    law1_check(&c);
}
END_TEST

START_TEST(before_and_after_restarts)
{
    struct law1_case c = some_of(_i);
    for (c.num_restarts = 1; c.num_restarts <= 3; c.num_restarts++) {
        c.seed++;
        law1_check(&c);
    }
}
END_TEST

START_TEST(planned_ahead_and_not)
{
    struct law1_case c = some_of(_i);
    for (int k = 0; k < 4; k++) {
        c.plans_ahead = k % 2 == 0;
        c.is_watched = k < 2; /* a device that is watched has ended before it is waited for */
        c.is_staggered = k < 2;
        c.num = c.batch = 32;
        c.first = 16;
        law1_check(&c);
    }
}
END_TEST

START_TEST(read_at_once_and_slowly)
{
    struct law1_case c = some_of(_i);
    c.is_read_slowly = true;
    c.num_seqs = 7;
    law1_check(&c);
}
END_TEST

/* --- the comparison finds what is to be found --------------------------------------------- */

static const char *difference_of(const struct law1_case *c)
{
    static struct law1_answer answers[LAW1_NUM_REQUESTS];
    law1_answer(c, answers);
    return law1_difference(c, answers);
}

START_TEST(another_seed_gives_another_answer)
{
    struct law1_case c = some_of(0);
    c.is_watched = false;
    law1_faults.seed_shift = 1000;
    const char *difference = difference_of(&c);
    ck_assert_ptr_nonnull(difference);
    ck_assert_ptr_nonnull(strstr(difference, "another token"));
}
END_TEST

START_TEST(a_last_bit_that_depends_on_the_batch_is_found)
{
    struct law1_case c = some_of(0);
    law1_faults.sees_batch = true;
    const char *difference = difference_of(&c);
    ck_assert_ptr_nonnull(difference);
    ck_assert_ptr_nonnull(strstr(difference, "other logits"));
    c.first = c.num = c.batch = 1; /* one choice */
    ck_assert_ptr_null(difference_of(&c));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("law1");
    TCase *tc = tcase_create("law1");

    tcase_set_timeout(tc, 120);
    tcase_add_unchecked_fixture(tc, prepare, NULL);
    tcase_add_loop_test(tc, alone_and_in_a_batch_of_64, 0, NUM_LOOPS);
    tcase_add_loop_test(tc, in_chunks_of_1_to_512, 0, NUM_LOOPS * NUM_CHUNKS);
    tcase_add_loop_test(tc, on_1_to_4_threads, 0, NUM_LOOPS);
    tcase_add_loop_test(tc, cold_and_with_parts_or_all_of_the_prompts_cached, 0, NUM_LOOPS);
    tcase_add_loop_test(tc, never_preempted_and_preempted_five_times, 0, NUM_LOOPS);
    tcase_add_loop_test(tc, before_and_after_restarts, 0, NUM_LOOPS);
    tcase_add_loop_test(tc, planned_ahead_and_not, 0, NUM_LOOPS);
    tcase_add_loop_test(tc, read_at_once_and_slowly, 0, NUM_LOOPS);
    tcase_add_test(tc, another_seed_gives_another_answer);
    tcase_add_test(tc, a_last_bit_that_depends_on_the_batch_is_found);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
