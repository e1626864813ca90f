/*
 * Weights with scales: products against sums in double over what codes, scales and zeros mean, as
 * the formats' descriptions say it.
 */
#include <stdlib.h>

#include "scaled_matrix.h"

static const struct shape {
    int32_t rows, inputs, outputs;
} shapes[] = {
    { 1, 1, 1 },     { 1, 32, 33 },    { 2, 96, 31 },   { 3, 32, 32 },   { 4, 63, 65 },
    { 5, 128, 97 },  { 6, 257, 128 },  { 7, 512, 64 },  { 7, 545, 110 }, { 13, 600, 70 },
    { 64, 96, 161 }, { 1, 1100, 160 }, { 3, 320, 257 }, { 2, 40, 129 },  { 130, 264, 40 },
};

static void expect(const struct scaled_matrix *m, const float *bias, const float *x, int32_t rows,
                   double *wanted)
{
    const int32_t cols = m->object.cols, outputs = m->object.rows;
    for (int32_t r = 0; r < rows; r++)
        for (int32_t n = 0; n < outputs; n++) {
            double sum = bias ? (double)bias[n] : 0.0;
            for (int32_t k = 0; k < cols; k++)
                sum += m->values[(size_t)n * (size_t)cols + (size_t)k] * (double)x[r * cols + k];
            wanted[r * outputs + n] = sum;
        }
}

static void check_shape(struct device *device, const struct scaled_form_case *form,
                        const struct shape *shape, bool with_bias)
{
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    const size_t num_out = (size_t)shape->rows * (size_t)shape->outputs;
    struct scaled_matrix m = scaled_matrix_make(form, shape->outputs, shape->inputs);
    float *x = fixture_guarded(num_x), *bias = fixture_guarded((size_t)shape->outputs);
    float *out = fixture_guarded(num_out);
    double *wanted = malloc(num_out * sizeof(double));
    ck_assert_ptr_nonnull(wanted);
    fixture_fill(x, num_x);
    fixture_fill(bias, (size_t)shape->outputs);

    scaled_matrix_load(device, &m);
    expect(&m, with_bias ? bias : NULL, x, shape->rows, wanted);
    scaled_matrix_multiply(device, out, m.weight, with_bias ? bias : NULL, x, shape->rows);
    fixture_compare(fixture_backend->device_isa(device), out, wanted, num_out,
                    1e-6 + 1.5e-7 * shape->inputs, 1e-6);

    scaled_matrix_finish(&m);
    fixture_guarded_finish(out, num_out);
    fixture_guarded_finish(bias, (size_t)shape->outputs);
    fixture_guarded_finish(x, num_x);
    free(wanted);
}

static bool is_possible(const struct scaled_form_case *form, const struct shape *shape)
{
    return !form->is_mixed || shape->inputs >= 32; /* every group has a column */
}

static void check_shapes(struct device *device)
{
    for (int f = 0; f < NUM_SCALED_FORMS; f++)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
            if (is_possible(&scaled_forms[f], &shapes[i]))
                check_shape(device, &scaled_forms[f], &shapes[i], i % 2 == 0);
}

START_TEST(products_equal_the_sum_in_double)
{
    fixture_each_device(check_shapes);
}
END_TEST

enum { ROWS = 40, INPUTS = 700, OUTPUTS = 171 };

/* Law 1: a row's bits whoever is beside it. */
static void check_rows_alone(struct device *device)
{
    float *x = fixture_guarded(ROWS * INPUTS);
    float *together = fixture_guarded(ROWS * OUTPUTS), *part = fixture_guarded(ROWS * OUTPUTS);
    fixture_fill(x, ROWS * INPUTS);
    for (int f = 0; f < NUM_SCALED_FORMS; f++) {
        struct scaled_matrix m = scaled_matrix_make(&scaled_forms[f], OUTPUTS, INPUTS);
        scaled_matrix_load(device, &m);
        scaled_matrix_multiply(device, together, m.weight, NULL, x, ROWS);
        for (int32_t rows = 1; rows <= 13; rows++)
            for (int32_t first = 0; first + rows <= ROWS; first += 17) {
                scaled_matrix_multiply(device, part, m.weight, NULL, x + first * INPUTS, rows);
                ck_assert(
                    fixture_equal_bits(part, together + first * OUTPUTS, (size_t)rows * OUTPUTS));
            }
        scaled_matrix_finish(&m);
    }
    fixture_guarded_finish(part, ROWS * OUTPUTS);
    fixture_guarded_finish(together, ROWS * OUTPUTS);
    fixture_guarded_finish(x, ROWS * INPUTS);
}

START_TEST(a_row_has_the_same_bits_alone_and_among_others)
{
    fixture_each_device(check_rows_alone);
}
END_TEST

START_TEST(vector_sets_and_numbers_of_threads_agree_to_the_bit)
{
    static const char *const isas[] = { "avx2", "avx512", "neon" };
    float *x = fixture_guarded(ROWS * INPUTS);
    float *first = fixture_guarded(ROWS * OUTPUTS), *out = fixture_guarded(ROWS * OUTPUTS);
    fixture_fill(x, ROWS * INPUTS);
    for (int f = 0; f < NUM_SCALED_FORMS; f++) {
        struct scaled_matrix m = scaled_matrix_make(&scaled_forms[f], OUTPUTS, INPUTS);
        bool any = false;
        for (int i = 0; i < 9; i++) {
            struct device *device = fixture_open(isas[i / 3], 1 + 2 * (i % 3));
            if (!device)
                continue;
            scaled_matrix_load(device, &m);
            scaled_matrix_multiply(device, any ? out : first, m.weight, NULL, x, ROWS);
            ck_assert(!any || fixture_equal_bits(first, out, ROWS * OUTPUTS));
            any = true;
            scaled_matrix_unload(&m);
            fixture_backend->device_close(device);
        }
        scaled_matrix_finish(&m);
    }
    fixture_guarded_finish(out, ROWS * OUTPUTS);
    fixture_guarded_finish(first, ROWS * OUTPUTS);
    fixture_guarded_finish(x, ROWS * INPUTS);
}
END_TEST

/* What is multiplied is the weight as a float: the bits are those of an f32 matrix. */
static void check_as_f32(struct device *device)
{
    float *x = fixture_guarded(5 * INPUTS);
    float *out = fixture_guarded(5 * OUTPUTS), *plain = fixture_guarded(5 * OUTPUTS);
    fixture_fill(x, 5 * INPUTS);
    for (int f = 0; f < NUM_SCALED_FORMS; f++) {
        if (scaled_forms[f].is_mixed)
            continue; /* other order of terms */
        struct scaled_matrix m = scaled_matrix_make(&scaled_forms[f], OUTPUTS, INPUTS);
        float *values = malloc(sizeof(float) * OUTPUTS * INPUTS);
        struct weight *weight = NULL;
        ck_assert_ptr_nonnull(values);
        for (int i = 0; i < OUTPUTS * INPUTS; i++)
            values[i] = (float)m.values[i];
        ck_assert_int_eq(
            fixture_backend->weight_alloc(device, DTYPE_F32, OUTPUTS, INPUTS, &weight, NULL), 0);
        fixture_backend->weight_load(weight, 0, OUTPUTS, values);
        scaled_matrix_load(device, &m);
        for (int32_t rows = 1; rows <= 5; rows += 4) {
            scaled_matrix_multiply(device, out, m.weight, NULL, x, rows);
            scaled_matrix_multiply(device, plain, weight, NULL, x, rows);
            ck_assert(fixture_equal_bits(out, plain, (size_t)rows * OUTPUTS));
        }
        fixture_backend->weight_free(weight);
        free(values);
        scaled_matrix_finish(&m);
    }
    fixture_guarded_finish(plain, 5 * OUTPUTS);
    fixture_guarded_finish(out, 5 * OUTPUTS);
    fixture_guarded_finish(x, 5 * INPUTS);
}

START_TEST(bits_are_those_of_the_matrix_that_the_weights_mean)
{
    fixture_each_device(check_as_f32);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linear_scaled");
    TCase *tests = tcase_create("linear_scaled");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, products_equal_the_sum_in_double);
    tcase_add_test(tests, a_row_has_the_same_bits_alone_and_among_others);
    tcase_add_test(tests, vector_sets_and_numbers_of_threads_agree_to_the_bit);
    tcase_add_test(tests, bits_are_those_of_the_matrix_that_the_weights_mean);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
