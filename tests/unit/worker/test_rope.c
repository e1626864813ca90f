#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "worker/model/rope.h"

static struct rope_spec spec;
static double inv_freq[64];

static void setup(void)
{
    spec = (struct rope_spec){ .theta = 10000.0, .rotary_dims = 8 };
}

START_TEST(without_scaling_frequencies_fall_with_theta)
{
    rope_inv_freq(&spec, 1, inv_freq);

    const double wanted[] = { 1.0, 0.1, 0.01, 0.001 };
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(inv_freq[i], wanted[i], 1e-12);
}
END_TEST

START_TEST(linear_scaling_divides_by_its_factor)
{
    spec.scaling = ROPE_SCALING_LINEAR;
    spec.factor = 4.0;
    rope_inv_freq(&spec, 1, inv_freq);

    ck_assert_double_eq_tol(inv_freq[0], 0.25, 1e-12);
    ck_assert_double_eq_tol(inv_freq[3], 0.00025, 1e-12);
}
END_TEST

START_TEST(llama3_scaling_keeps_short_waves_and_stretches_long_ones)
{
    spec.theta = 500000.0;
    spec.scaling = ROPE_SCALING_LLAMA3;
    spec.factor = 8.0;
    spec.low_freq_factor = 1.0;
    spec.high_freq_factor = 4.0;
    spec.original_max_position_embeddings = 8192;
    spec.rotary_dims = 128;
    rope_inv_freq(&spec, 1, inv_freq);

    /* HF transformers, ROPE_INIT_FUNCTIONS["llama3"] with Llama 3.1's configuration. */
    static const struct {
        int i;
        double value;
    } wanted[] = { { 0, 1.000000000e+00 },  { 1, 8.146172166e-01 },  { 17, 3.063452058e-02 },
                   { 28, 3.211446106e-03 }, { 30, 1.371893683e-03 }, { 31, 8.567514597e-04 },
                   { 33, 3.126936499e-04 }, { 35, 9.556212171e-05 }, { 36, 7.784655463e-05 },
                   { 63, 3.068925878e-07 } };
    for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++)
        ck_assert_double_eq_tol(inv_freq[wanted[k].i] / wanted[k].value, 1.0, 2e-6);
}
END_TEST

START_TEST(yarn_scaling_is_that_of_transformers)
{
    spec = (struct rope_spec){ .theta = 1000000.0,
                               .rotary_dims = 128,
                               .scaling = ROPE_SCALING_YARN,
                               .factor = 4.0,
                               .beta_fast = 32.0,
                               .beta_slow = 1.0,
                               .original_max_position_embeddings = 32768 };
    rope_inv_freq(&spec, 1, inv_freq);
    /* HF transformers, ROPE_INIT_FUNCTIONS["yarn"] with the above. */
    static const struct {
        int i;
        double value;
    } wanted[] = { { 0, 1.000000000e+00 },  { 1, 8.058422208e-01 },  { 20, 1.333521493e-02 },
                   { 23, 6.978305988e-03 }, { 24, 5.375321489e-03 }, { 28, 1.848276588e-03 },
                   { 32, 6.029411452e-04 }, { 36, 1.798411540e-04 }, { 39, 6.490394298e-05 },
                   { 40, 4.445698505e-05 }, { 41, 3.582531644e-05 }, { 63, 3.102344408e-07 } };
    for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++)
        ck_assert_double_eq_tol(inv_freq[wanted[k].i] / wanted[k].value, 1.0, 2e-6);
    ck_assert_double_eq_tol(rope_attention_factor(&spec), 1.138629436111989, 1e-9);

    spec.mscale = 0.707;
    spec.mscale_all_dim = 1.0;
    spec.factor = 40.0;
    ck_assert_double_eq_tol(rope_attention_factor(&spec),
                            (0.0707 * log(40.0) + 1.0) / (0.1 * log(40.0) + 1.0), 1e-12);
    spec.attention_factor = 1.5;
    ck_assert_double_eq(rope_attention_factor(&spec), 1.5);
}
END_TEST

START_TEST(longrope_takes_its_factors_by_the_longest_text)
{
    spec = (struct rope_spec){ .theta = 10000.0,
                               .rotary_dims = 8,
                               .scaling = ROPE_SCALING_LONGROPE,
                               .factor = 32.0,
                               .original_max_position_embeddings = 4096,
                               .short_factors = { 1.0, 1.0, 2.0, 2.0 },
                               .long_factors = { 1.0, 4.0, 8.0, 16.0 } };
    rope_inv_freq(&spec, 4096, inv_freq);
    ck_assert_double_eq_tol(inv_freq[1], 0.1, 1e-12);
    ck_assert_double_eq_tol(inv_freq[3], 0.0005, 1e-12);
    rope_inv_freq(&spec, 4097, inv_freq);
    ck_assert_double_eq_tol(inv_freq[1], 0.025, 1e-12);
    ck_assert_double_eq_tol(inv_freq[3], 0.001 / 16.0, 1e-12);
    ck_assert_double_eq_tol(rope_attention_factor(&spec), 1.1902380714, 1e-9); /* 128k of 4k */
    spec.factor = 1.0;
    ck_assert_double_eq(rope_attention_factor(&spec), 1.0);
}
END_TEST

/* Positions that threads do not share out evenly. */
START_TEST(any_number_of_threads_fills_the_same_tables)
{
    enum { POSITIONS = 5003, THREADS = 3 };
    const struct backend *backend;
    struct device *devices[THREADS];
    struct rope_table tables[THREADS];
    struct error err;
    ck_assert_int_eq(backend_open("cpu", &backend, &err), 0);
    for (int t = 0; t < THREADS; t++) {
        const struct device_options options = {
            .num_threads = 2 * t + 1, .max_rows = 1, .max_ops = 1, .max_vocab = 1
        };
        ck_assert_int_eq(backend->device_open(&options, &devices[t], &err), 0);
        ck_assert_int_eq(rope_init(backend, devices[t], &spec, POSITIONS, &tables[t], &err), 0);
        ck_assert_mem_eq(tables[t].cos, tables[0].cos, POSITIONS * 4 * sizeof(float));
        ck_assert_mem_eq(tables[t].sin, tables[0].sin, POSITIONS * 4 * sizeof(float));
    }
    ck_assert(tables[2].cos[5002 * 4 + 1] == (float)cos(5002 * pow(10000.0, -0.25)));
    ck_assert(tables[2].sin[1700 * 4 + 3] == (float)sin(1700 * pow(10000.0, -0.75)));
    for (int t = 0; t < THREADS; t++) {
        rope_finish(backend, devices[t], &tables[t]);
        backend->device_close(devices[t]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rope");
    TCase *tc = tcase_create("rope");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, without_scaling_frequencies_fall_with_theta);
    tcase_add_test(tc, linear_scaling_divides_by_its_factor);
    tcase_add_test(tc, llama3_scaling_keeps_short_waves_and_stretches_long_ones);
    tcase_add_test(tc, yarn_scaling_is_that_of_transformers);
    tcase_add_test(tc, longrope_takes_its_factors_by_the_longest_text);
    tcase_add_test(tc, any_number_of_threads_fills_the_same_tables);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
