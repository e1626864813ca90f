#include "worker/token_store.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

enum { NUM_CHUNKS = 4, NUM_TOKENS = NUM_CHUNKS * TOKEN_STORE_CHUNK };

static struct reserve reserve;
static struct token_store store;
static int32_t ids[NUM_TOKENS + 1], back[NUM_TOKENS];

static void setup(void)
{
    for (int i = 0; i <= NUM_TOKENS; i++)
        ids[i] = 7 * i;
    ck_assert_int_eq(token_store_init(&store, NUM_TOKENS, &reserve), 0);
}

static void teardown(void)
{
    reserve_finish(&reserve);
}

START_TEST(reads_back_any_run_of_what_was_appended_in_pieces)
{
    struct token_list list = token_list_empty;

    ck_assert_int_eq(token_store_append(&store, &list, ids, 100), 0);
    ck_assert_int_eq(token_store_append(&store, &list, ids + 100, 0), 0);
    ck_assert_int_eq(token_store_append(&store, &list, ids + 100, 700), 0);

    for (int first = 0; first <= 800; first += 50)
        for (int num = 0; first + num <= 800; num += 71) {
            token_store_read(&store, &list, first, num, back);
            for (int i = 0; i < num; i++)
                ck_assert_int_eq(back[i], ids[first + i]);
        }
}
END_TEST

START_TEST(append_takes_all_or_nothing)
{
    struct token_list list = token_list_empty;

    ck_assert_int_eq(token_store_append(&store, &list, ids, NUM_TOKENS + 1), -ENOSPC);
    ck_assert_int_eq(list.num_tokens, 0);
    ck_assert_int_eq(token_store_append(&store, &list, ids, NUM_TOKENS), 0);
    ck_assert_int_eq(store.num_free, 0);
}
END_TEST

START_TEST(freed_chunks_are_used_again)
{
    struct token_list lists[2] = { token_list_empty, token_list_empty };

    for (int round = 0; round < 10; round++) {
        ck_assert_int_eq(token_store_append(&store, &lists[0], ids, 300), 0);
        ck_assert_int_eq(token_store_append(&store, &lists[1], ids + 5, 2 * TOKEN_STORE_CHUNK), 0);
        ck_assert_int_eq(store.num_free, 0);
        token_store_read(&store, &lists[1], 0, 2 * TOKEN_STORE_CHUNK, back);
        ck_assert_int_eq(back[0], ids[5]);
        ck_assert_int_eq(back[2 * TOKEN_STORE_CHUNK - 1], ids[4 + 2 * TOKEN_STORE_CHUNK]);
        token_store_free(&store, &lists[round % 2]);
        token_store_free(&store, &lists[1 - round % 2]);
        ck_assert_int_eq(store.num_free, NUM_CHUNKS);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_store");
    TCase *tc = tcase_create("token_store");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, reads_back_any_run_of_what_was_appended_in_pieces);
    tcase_add_test(tc, append_takes_all_or_nothing);
    tcase_add_test(tc, freed_chunks_are_used_again);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
