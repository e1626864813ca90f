/* The operations that take rows one by one: norm, silu, gather. */
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

static void check_silu_width(struct device *device, int32_t cols, float range)
{
    const size_t num = (size_t)(ROWS * cols);
    float *gate_up = fixture_guarded(2 * num), *out = fixture_guarded(num);
    float *alone = fixture_guarded((size_t)cols);
    fixture_fill(gate_up, 2 * num);
    for (int32_t r = 0; r < ROWS; r++)
        for (int32_t i = 0; i < cols; i++) {
            float *row = gate_up + 2 * r * cols;
            row[i] *= range;
            const double gate = (double)row[i];
            wanted[r * cols + i] = gate / (1.0 + exp(-gate)) * (double)row[cols + i];
        }
    fixture_backend->begin(device);
    fixture_backend->silu_mul(device, out, gate_up, ROWS, cols);
    fixture_backend->silu_mul(device, alone, gate_up + 2 * cols, 1, cols);
    fixture_run(device);
    fixture_compare(fixture_backend->device_isa(device), out, wanted, num, 1e-30, 6e-7);
    ck_assert(fixture_equal_bits(alone, out + cols, (size_t)cols));
    fixture_guarded_finish(alone, (size_t)cols);
    fixture_guarded_finish(out, num);
    fixture_guarded_finish(gate_up, 2 * num);
}

static void check_silu(struct device *device)
{
    for (int32_t i = 0; i < NUM_WIDTHS; i++) {
        check_silu_width(device, widths[i], 1.0f);
        check_silu_width(device, widths[i], 80.0f);
    }
}

START_TEST(silu_mul_equals_the_formula)
{
    fixture_each_device(check_silu);
}
END_TEST

static void check_silu_ends(struct device *device)
{
    float gate_up[10] = { INFINITY, -INFINITY, NAN, -1000.0f, 0.0f, 1, 1, 1, 1, 1 }, out[5];
    fixture_backend->begin(device);
    fixture_backend->silu_mul(device, out, gate_up, 1, 5);
    fixture_run(device);
    ck_assert(isinf(out[0]) && out[0] > 0.0f);
    ck_assert(isnan(out[1]) && isnan(out[2])); /* -inf times 0 has no value */
    ck_assert_float_eq(out[3], 0.0f);
    ck_assert_float_eq(out[4], 0.0f);
}

START_TEST(silu_mul_passes_on_what_is_not_finite)
{
    fixture_each_device(check_silu_ends);
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
    tcase_add_test(tests, silu_mul_equals_the_formula);
    tcase_add_test(tests, silu_mul_passes_on_what_is_not_finite);
    tcase_add_test(tests, gather_rows_copies_the_named_rows);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
