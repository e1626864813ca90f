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

int main(void)
{
    Suite *suite = suite_create("rope");
    TCase *tc = tcase_create("rope");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, without_scaling_frequencies_fall_with_theta);
    tcase_add_test(tc, linear_scaling_divides_by_its_factor);
    tcase_add_test(tc, llama3_scaling_keeps_short_waves_and_stretches_long_ones);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
