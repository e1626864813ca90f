/*
 * runner.h - the main of a Check program: one case, the tests in a list
 */
#ifndef TESTS_UNIT_RUNNER_H
#define TESTS_UNIT_RUNNER_H

#include <check.h>
#include <stdlib.h>

/* `before` and `after` run around each test; NULL: nothing does. */
static inline int run_suite(const char *name, void (*before)(void), void (*after)(void),
                            const TTest *const *tests, size_t num)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, before, after);
    for (size_t i = 0; i < num; i++)
        tcase_add_test(tc, tests[i]);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define RUN_SUITE_AROUND(name, before, after, ...)                                                 \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = { __VA_ARGS__ };                                              \
        return run_suite(name, before, after, tests, sizeof(tests) / sizeof(tests[0]));            \
    }

#define RUN_SUITE(name, ...) RUN_SUITE_AROUND(name, NULL, NULL, __VA_ARGS__)

#endif
