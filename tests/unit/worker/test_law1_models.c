/* The first law over every golden model and the types of quantized weights, each under a few
 * circumstances. */
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "gguf_maker.h"
#include "law1.h"

static const int32_t chunks[] = { 1, 2, 7, 16, 17, 64, 512 };
enum { NUM_CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };

/* `i` varies what one model meets. */
static void try_some(int32_t model, int i)
{
    struct law1_case c = law1_usual(model, law1_kv_types[i % LAW1_NUM_KV_TYPES], 1);
    c.first = 7 * i % LAW1_NUM_REQUESTS;
    c.plans_ahead = true;
    c.num = c.batch = 10;
    c.chunk = chunks[i % NUM_CHUNKS];
    c.num_threads = 1 + i % 2;
    c.start = LAW1_COLD;
    law1_check(&c);
    c.chunk = chunks[(i + 4) % NUM_CHUNKS];
    c.start = i % 4 < 2 ? LAW1_WHOLE : LAW1_PARTIAL;
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

START_TEST(every_model_under_every_circumstance)
{
    try_some(_i, _i);
}
END_TEST

static const enum block_type types[] = { BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_Q4_K, BLOCK_Q6_K,
                                         BLOCK_Q5_1 };
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]) };

START_TEST(quantized_weights_under_every_circumstance)
{
    char path[] = "/tmp/test_law1_models_XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    if (_i < NUM_TYPES)
        gguf_maker_write(path, types[_i], false);
    else
        gguf_maker_write_mixture(path, false);
    try_some(law1_model_made(path), _i);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("law1_models");
    TCase *tc = tcase_create("law1_models");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_model_under_every_circumstance, 0, law1_num_models);
    tcase_add_loop_test(tc, quantized_weights_under_every_circumstance, 0, NUM_TYPES + 1);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
