/* The first law over every model there is, each under a few circumstances. */
#include <check.h>
#include <stdlib.h>

#include "law1.h"

static const int32_t chunks[] = { 1, 2, 7, 16, 17, 64, 512 };
enum { NUM_CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };

START_TEST(every_model_under_every_circumstance)
{
    struct law1_case c = law1_usual(_i, _i % 2 == 0 ? DTYPE_F16 : DTYPE_F32, 1);
    c.first = 7 * _i % LAW1_NUM_REQUESTS;
    c.plans_ahead = true;
    c.num = c.batch = 10;
    c.chunk = chunks[_i % NUM_CHUNKS];
    c.num_threads = 2;
    c.start = LAW1_COLD;
    law1_check(&c);
    c.chunk = chunks[(_i + 4) % NUM_CHUNKS];
    c.start = _i % 4 < 2 ? LAW1_WHOLE : LAW1_PARTIAL;
    law1_check(&c);
    c.num_restarts = 2;
    c.is_watched = false;
    law1_check(&c);
    c.num = c.batch = 2;
    c.num_restarts = 0;
    c.chunk = 64;
    c.pest = LAW1_TINY_POOL;
    law1_check(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("law1_models");
    TCase *tc = tcase_create("law1_models");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_model_under_every_circumstance, 0, law1_num_models);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
