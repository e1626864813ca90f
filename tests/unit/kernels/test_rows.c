/* The operations that take rows one by one: norms, activations, gather. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static const int32_t widths[] = { 1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 255, 256, 1000, 4096 };
enum { NUM_WIDTHS = sizeof(widths) / sizeof(widths[0]), ROWS = 5, MAX_WIDTH = 4096 };

static double wanted[ROWS * MAX_WIDTH], sums[ROWS * MAX_WIDTH];

static void expect_norm(const float *x, const float *delta, const float *w, int32_t cols)
{
    for (int32_t r = 0; r < ROWS; r++) {
        double squares = 0.0;
        for (int32_t i = 0; i < cols; i++) {
            const int32_t at = r * cols + i;
            sums[at] = (double)(delta ? x[at] + delta[at] : x[at]);
            squares += sums[at] * sums[at];
        }
        for (int32_t i = 0; i < cols; i++)
            wanted[r * cols + i] = sums[r * cols + i] / sqrt(squares / cols + 1e-5) * (double)w[i];
    }
}

static void check_norm_width(struct device *device, int32_t cols, bool with_delta)
{
    const size_t num = (size_t)(ROWS * cols);
    float *x = fixture_guarded(num), *delta = fixture_guarded(num), *out = fixture_guarded(num);
    float *w = fixture_guarded((size_t)cols), *alone = fixture_guarded((size_t)cols);
    fixture_fill(x, num);
    fixture_fill(delta, num);
    fixture_fill(w, (size_t)cols);
    memcpy(alone, x + 2 * cols, (size_t)cols * sizeof(float));

    expect_norm(x, with_delta ? delta : NULL, w, cols);
    fixture_backend->begin(device);
    fixture_backend->add_rms_norm(device, out, x, with_delta ? delta : NULL, w, 1e-5f, ROWS, cols);
    fixture_backend->add_rms_norm(device, alone, alone, with_delta ? delta + 2 * cols : NULL, w,
                                  1e-5f, 1, cols);
    fixture_run(device);
    fixture_compare("sum", x, sums, num, 0.0, 0.0);
    fixture_compare("norm", out, wanted, num, 1e-7, 2e-6);
    ck_assert(fixture_equal_bits(alone, out + 2 * cols, (size_t)cols));

    fixture_guarded_finish(alone, (size_t)cols);
    fixture_guarded_finish(w, (size_t)cols);
    fixture_guarded_finish(out, num);
    fixture_guarded_finish(delta, num);
    fixture_guarded_finish(x, num);
}

static void check_norm(struct device *device)
{
    for (int32_t i = 0; i < NUM_WIDTHS; i++) {
        check_norm_width(device, widths[i], false);
        check_norm_width(device, widths[i], true);
    }
}

START_TEST(add_rms_norm_equals_the_formula)
{
    fixture_each_device(check_norm);
}
END_TEST

static void check_sum_only(struct device *device)
{
    float x[] = { 1.0f, 2.0f, 3.0f }, delta[] = { 0.5f, -2.0f, 1e-3f };
    fixture_backend->begin(device);
    fixture_backend->add_rms_norm(device, NULL, x, delta, NULL, 0.0f, 1, 3);
    fixture_run(device);
    ck_assert_float_eq(x[0], 1.5f);
    ck_assert_float_eq(x[1], 0.0f);
    ck_assert_float_eq(x[2], 3.001f);
}

START_TEST(add_rms_norm_without_out_only_adds)
{
    fixture_each_device(check_sum_only);
}
END_TEST

static void expect_layer_norm(const float *x, const float *delta, const float *w, const float *bias,
                              int32_t cols)
{
    for (int32_t r = 0; r < ROWS; r++) {
        double mean = 0.0, squares = 0.0;
        for (int32_t i = 0; i < cols; i++) {
            const int32_t at = r * cols + i;
            sums[at] = (double)(delta ? x[at] + delta[at] : x[at]);
            mean += sums[at] / cols;
        }
        for (int32_t i = 0; i < cols; i++)
            squares += (sums[r * cols + i] - mean) * (sums[r * cols + i] - mean);
        for (int32_t i = 0; i < cols; i++)
            wanted[r * cols + i] =
                (sums[r * cols + i] - mean) / sqrt(squares / cols + 1e-5) * (double)w[i] +
                (double)bias[i];
    }
}

static void check_layer_norm_width(struct device *device, int32_t cols, bool with_delta)
{
    const size_t num = (size_t)(ROWS * cols), width = (size_t)cols;
    float *x = fixture_guarded(num), *delta = fixture_guarded(num), *out = fixture_guarded(num);
    float *w = fixture_guarded(width), *bias = fixture_guarded(width);
    float *alone = fixture_guarded(width);
    fixture_fill(x, num);
    for (size_t i = 0; i < num; i++)
        x[i] += 3.0f; /* far from 0, so that the mean matters */
    fixture_fill(delta, num);
    fixture_fill(w, width);
    fixture_fill(bias, width);
    memcpy(alone, x + 2 * cols, width * sizeof(float));

    expect_layer_norm(x, with_delta ? delta : NULL, w, bias, cols);
    fixture_backend->begin(device);
    fixture_backend->add_layer_norm(device, out, x, with_delta ? delta : NULL, w, bias, 1e-5f, ROWS,
                                    cols);
    fixture_backend->add_layer_norm(device, alone, alone, with_delta ? delta + 2 * cols : NULL, w,
                                    bias, 1e-5f, 1, cols);
    fixture_run(device);
    fixture_compare("sum", x, sums, num, 0.0, 0.0);
    fixture_compare("layer norm", out, wanted, num, 1e-5 + 4e-9 * cols, 2e-6);
    ck_assert(fixture_equal_bits(alone, out + 2 * cols, width));

    fixture_guarded_finish(alone, width);
    fixture_guarded_finish(bias, width);
    fixture_guarded_finish(w, width);
    fixture_guarded_finish(out, num);
    fixture_guarded_finish(delta, num);
    fixture_guarded_finish(x, num);
}

static void check_layer_norm(struct device *device)
{
    for (int32_t i = 0; i < NUM_WIDTHS; i++) {
        check_layer_norm_width(device, widths[i], false);
        check_layer_norm_width(device, widths[i], true);
    }
}

START_TEST(add_layer_norm_equals_the_formula)
{
    fixture_each_device(check_layer_norm);
}
END_TEST

static const struct {
    enum activation activation;
    double absolute, relative;
} activations[] = {
    { ACTIVATION_SILU, 1e-30, 6e-7 },
    { ACTIVATION_GELU_TANH, 1e-30, 5e-6 }, /* e^(-2 u) takes the rounding of u as a factor */
    { ACTIVATION_GELU, 1e-30, 8e-6 },      /* and e^(-x^2 / 2) that of x^2 */
};
enum { NUM_ACTIVATIONS = sizeof(activations) / sizeof(activations[0]) };

static double act(enum activation activation, double x)
{
    if (activation == ACTIVATION_SILU)
        return x / (1.0 + exp(-x));
    if (activation == ACTIVATION_GELU)
        return 0.5 * x * erfc(-x / sqrt(2.0));
    const double u = sqrt(2.0 / 3.14159265358979324) * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp(-2.0 * u));
}

static void check_act_width(struct device *device, int32_t which, int32_t cols, float range,
                            bool gated)
{
    const enum activation activation = activations[which].activation;
    const int32_t in_cols = gated ? 2 * cols : cols;
    const size_t num = (size_t)(ROWS * cols), num_in = (size_t)(ROWS * in_cols);
    float *in = fixture_guarded(num_in), *out = fixture_guarded(num);
    float *alone = fixture_guarded((size_t)cols);
    fixture_fill(in, num_in);
    for (int32_t r = 0; r < ROWS; r++)
        for (int32_t i = 0; i < cols; i++) {
            float *row = in + r * in_cols;
            row[i] *= range;
            wanted[r * cols + i] =
                act(activation, (double)row[i]) * (gated ? (double)row[cols + i] : 1.0);
        }
    fixture_backend->begin(device);
    fixture_backend->activate(device, out, in, activation, gated, ROWS, cols);
    fixture_backend->activate(device, alone, in + in_cols, activation, gated, 1, cols);
    fixture_run(device);
    fixture_compare(fixture_backend->device_isa(device), out, wanted, num,
                    activations[which].absolute, activations[which].relative);
    ck_assert(fixture_equal_bits(alone, out + cols, (size_t)cols));
    fixture_guarded_finish(alone, (size_t)cols);
    fixture_guarded_finish(out, num);
    fixture_guarded_finish(in, num_in);
}

static void check_activations(struct device *device)
{
    for (int32_t a = 0; a < NUM_ACTIVATIONS; a++)
        for (int32_t i = 0; i < NUM_WIDTHS; i++) {
            /* Beyond 5 GELU is 0 or x; what is left of it is below float's range from 13 on. */
            check_act_width(device, a, widths[i], 1.0f, i % 2 == 0);
            check_act_width(device, a, widths[i], a == 0 ? 80.0f : 5.0f, i % 2 == 1);
        }
}

START_TEST(activations_equal_their_formulas)
{
    fixture_each_device(check_activations);
}
END_TEST

static void check_act_ends(struct device *device)
{
    for (int32_t a = 0; a < NUM_ACTIVATIONS; a++) {
        float in[14] = { INFINITY, -INFINITY, NAN, -1000.0f, 0.0f, 1e20f, -1e20f };
        float out[7];
        for (int32_t i = 7; i < 14; i++)
            in[i] = 1.0f;
        fixture_backend->begin(device);
        fixture_backend->activate(device, out, in, activations[a].activation, true, 1, 7);
        fixture_run(device);
        ck_assert(isinf(out[0]) && out[0] > 0.0f);
        ck_assert(isnan(out[1]) && isnan(out[2])); /* -inf times 0 has no value */
        ck_assert(fabsf(out[3]) < 1e-30f);
        ck_assert_float_eq(out[4], 0.0f);
        ck_assert_float_eq(out[5], 1e20f);
        ck_assert(fabsf(out[6]) < 1e-15f);
    }
}

START_TEST(activations_pass_on_what_is_not_finite)
{
    fixture_each_device(check_act_ends);
}
END_TEST

static void check_cap(struct device *device)
{
    enum { NUM = 997 };
    static const float caps[] = { 30.0f, 0.5f };
    for (int32_t c = 0; c < 2; c++) {
        float *x = fixture_guarded(NUM);
        fixture_fill(x, NUM);
        for (int32_t i = 0; i < NUM; i++) {
            x[i] *= i % 3 == 0 ? 200.0f : i % 3 == 1 ? caps[c] : 1e-3f;
            wanted[i] = (double)caps[c] * tanh((double)x[i] / (double)caps[c]);
        }
        fixture_backend->begin(device);
        fixture_backend->soft_cap(device, x, caps[c], 1, NUM);
        fixture_run(device);
        fixture_compare(fixture_backend->device_isa(device), x, wanted, NUM, 0.0, 5e-7);
        fixture_guarded_finish(x, NUM);
    }
    float ends[3] = { INFINITY, -INFINITY, NAN };
    fixture_backend->begin(device);
    fixture_backend->soft_cap(device, ends, 30.0f, 1, 3);
    fixture_run(device);
    ck_assert(ends[0] == 30.0f && ends[1] == -30.0f && isnan(ends[2]));
}

START_TEST(soft_cap_equals_the_formula)
{
    fixture_each_device(check_cap);
}
END_TEST

static void check_gather(struct device *device)
{
    enum { FROM = 9, COLS = 13, NUM = 4 };
    static const int32_t indices[NUM] = { 8, 0, 3, 3 };
    float x[FROM * COLS], *out = fixture_guarded(NUM * COLS);
    fixture_fill(x, FROM * COLS);
    fixture_backend->begin(device);
    fixture_backend->gather_rows(device, out, x, indices, NUM, COLS);
    fixture_run(device);
    for (int32_t i = 0; i < NUM; i++)
        ck_assert(fixture_equal_bits(out + i * COLS, x + indices[i] * COLS, COLS));
    fixture_guarded_finish(out, NUM * COLS);
}

START_TEST(gather_rows_copies_the_named_rows)
{
    fixture_each_device(check_gather);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows");
    TCase *tests = tcase_create("rows");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, add_rms_norm_equals_the_formula);
    tcase_add_test(tests, add_rms_norm_without_out_only_adds);
    tcase_add_test(tests, add_layer_norm_equals_the_formula);
    tcase_add_test(tests, activations_equal_their_formulas);
    tcase_add_test(tests, activations_pass_on_what_is_not_finite);
    tcase_add_test(tests, soft_cap_equals_the_formula);
    tcase_add_test(tests, gather_rows_copies_the_named_rows);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
