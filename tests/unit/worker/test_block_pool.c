#include "worker/block_pool.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

enum { NUM_BLOCKS = 4 };

static struct reserve reserve;
static struct block_pool pool;

static void setup(void)
{
    ck_assert_int_eq(block_pool_init(&pool, NUM_BLOCKS, &reserve), 0);
}

static void teardown(void)
{
    reserve_finish(&reserve);
}

START_TEST(alloc_takes_all_or_nothing)
{
    int32_t ids[NUM_BLOCKS + 1] = { -1, -1, -1, -1, -1 };

    ck_assert_int_eq(block_pool_alloc(&pool, NUM_BLOCKS + 1, ids), -ENOSPC);
    ck_assert_int_eq(ids[0], -1); /* nothing written on failure */
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS);

    ck_assert_int_eq(block_pool_alloc(&pool, NUM_BLOCKS, ids), 0);
    ck_assert_int_eq(pool.num_free, 0);
}
END_TEST

START_TEST(every_block_is_handed_out_once)
{
    int32_t ids[NUM_BLOCKS];
    int seen = 0;

    ck_assert_int_eq(block_pool_alloc(&pool, NUM_BLOCKS, ids), 0);

    for (int i = 0; i < NUM_BLOCKS; i++)
        seen |= 1 << ids[i];
    ck_assert_int_eq(seen, (1 << NUM_BLOCKS) - 1);
}
END_TEST

START_TEST(shared_block_is_freed_by_its_last_reference)
{
    int32_t id;

    ck_assert_int_eq(block_pool_alloc(&pool, 1, &id), 0);
    block_pool_ref(&pool, id);

    block_pool_unref(&pool, id);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS - 1);
    block_pool_unref(&pool, id);
    ck_assert_int_eq(pool.num_free, NUM_BLOCKS);
}
END_TEST

START_TEST(unref_of_a_free_block_aborts)
{
    block_pool_unref(&pool, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block_pool");
    TCase *tc = tcase_create("block_pool");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, alloc_takes_all_or_nothing);
    tcase_add_test(tc, every_block_is_handed_out_once);
    tcase_add_test(tc, shared_block_is_freed_by_its_last_reference);
    tcase_add_test_raise_signal(tc, unref_of_a_free_block_aborts, SIGABRT);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
