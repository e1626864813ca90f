/*
 * runner.h - the main of a Check program: one case, the tests in a list
 */
#ifndef TESTS_UNIT_RUNNER_H
#define TESTS_UNIT_RUNNER_H

#include <check.h>
#include <stdlib.h>

struct suite_row {
    const TTest *test;
    int from, to; /* indices that it runs with; to 0: it runs once and has none */
};

#define ONCE(test)            ((struct suite_row){ (test), 0, 0 })
#define TIMES(test, num)      ((struct suite_row){ (test), 0, (int)(num) })
#define RANGE(test, from, to) ((struct suite_row){ (test), (from), (int)(to) })

/* `before` and `after` run around each test, which may take `seconds`; NULL: nothing does. */
static inline int run_suite(const char *name, void (*before)(void), void (*after)(void),
                            double seconds, const struct suite_row *rows, size_t num)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, before, after);
    for (size_t i = 0; i < num; i++)
        if (rows[i].to > 0)
            tcase_add_loop_test(tc, rows[i].test, rows[i].from, rows[i].to);
        else
            tcase_add_test(tc, rows[i].test);
    tcase_set_timeout(tc, seconds);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Of rows ONCE(test), TIMES(test, number of indices) and RANGE(test, first index, end). */
#define RUN_ROWS(name, before, after, seconds, ...)                                                \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct suite_row suite_rows[] = { __VA_ARGS__ };                                     \
        return run_suite(name, before, after, seconds, suite_rows,                                 \
                         sizeof(suite_rows) / sizeof(suite_rows[0]));                              \
    }

/* Of tests, each once. */
#define RUN_SUITE_AROUND(name, before, after, ...)                                                 \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const suite_tests[] = { __VA_ARGS__ };                                        \
        enum { NUM_TESTS = sizeof(suite_tests) / sizeof(suite_tests[0]) };                         \
        struct suite_row suite_rows[NUM_TESTS];                                                    \
        for (size_t i = 0; i < NUM_TESTS; i++)                                                     \
            suite_rows[i] = ONCE(suite_tests[i]);                                                  \
        return run_suite(name, before, after, 60, suite_rows, NUM_TESTS);                          \
    }

#define RUN_SUITE(name, ...) RUN_SUITE_AROUND(name, NULL, NULL, __VA_ARGS__)

#endif
