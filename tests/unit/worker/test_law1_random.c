/* The first law under 300 circumstances of chance, from a seed that is printed. LAW1_SEED sets
 * another seed, LAW1_CASE runs one case alone. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "law1.h"

enum { NUM_PARTS = 15, NUM_EACH = 20 };

static bool is_chosen(uint32_t number)
{
    const char *only = getenv("LAW1_CASE");
    return only == NULL || strtoul(only, NULL, 10) == number;
}

static void prepare(void)
{
    for (uint32_t number = 0; number < NUM_PARTS * NUM_EACH; number++) {
        const struct law1_case c = law1_random(law1_seed(), number, 1);
        if (is_chosen(number))
            law1_prepare(&c);
    }
}

static void try_case(uint32_t number)
{
    static struct law1_answer answers[LAW1_NUM_REQUESTS];
    const struct law1_case c = law1_random(law1_seed(), number, 1);
    law1_answer(&c, answers);
    const char *difference = law1_difference(&c, answers);
    ck_assert_msg(difference == NULL, "%s, with LAW1_SEED=%" PRIu64 " LAW1_CASE=%u: %s", difference,
                  law1_seed(), number, law1_describe(&c));
}

START_TEST(answers_do_not_depend_on_circumstances)
{
    for (uint32_t k = 0; k < NUM_EACH; k++)
        if (is_chosen((uint32_t)_i * NUM_EACH + k))
            try_case((uint32_t)_i * NUM_EACH + k);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("law1_random");
    TCase *tc = tcase_create("law1_random");

    printf("LAW1_SEED=%" PRIu64 "\n", law1_seed());
    tcase_set_timeout(tc, 120);
    tcase_add_unchecked_fixture(tc, prepare, NULL);
    tcase_add_loop_test(tc, answers_do_not_depend_on_circumstances, 0, NUM_PARTS);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
