#include <stdlib.h>
#include <string.h>

#include "fixture.h"

struct shape {
    int32_t rows, inputs, outputs;
};

/* 1, odd sizes, and both sides of each edge: panels of 32, tiles of 3 and 6 rows, blocks of 8
 * panels and of 512 inputs. */
static const struct shape shapes[] = {
    { 1, 1, 1 },      { 1, 7, 33 },    { 2, 64, 31 },    { 3, 5, 32 },    { 4, 33, 65 },
    { 5, 100, 97 },   { 6, 256, 128 }, { 7, 511, 64 },   { 7, 513, 300 }, { 8, 512, 256 },
    { 13, 1030, 70 }, { 64, 96, 289 }, { 1, 2048, 160 }, { 3, 300, 257 }, { 2, 1, 129 },
};
static const enum dtype dtypes[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };

static struct weight *load(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                           const void *data)
{
    struct weight *weight = NULL;
    ck_assert_int_eq(fixture_backend->weight_alloc(device, dtype, rows, cols, &weight, NULL), 0);
    /* In uneven parts and from an odd address, as a file may have it. */
    const size_t row_bytes = (size_t)cols * dtype_bytes(dtype);
    const int32_t cut = rows / 3;
    unsigned char *odd = malloc((size_t)rows * row_bytes + 1);
    ck_assert_ptr_nonnull(odd);
    memcpy(odd + 1, data, (size_t)rows * row_bytes);
    fixture_backend->weight_load(weight, cut, rows - cut, odd + 1 + (size_t)cut * row_bytes);
    fixture_backend->weight_load(weight, 0, cut, odd + 1);
    free(odd);
    return weight;
}

static void expect_linear(double *wanted, const struct shape *shape, const double *w,
                          const float *bias, const float *x)
{
    for (int32_t r = 0; r < shape->rows; r++)
        for (int32_t n = 0; n < shape->outputs; n++) {
            double sum = bias ? (double)bias[n] : 0.0;
            for (int32_t k = 0; k < shape->inputs; k++)
                sum += w[n * shape->inputs + k] * (double)x[r * shape->inputs + k];
            wanted[r * shape->outputs + n] = sum;
        }
}

static void check_linear(struct device *device, enum dtype dtype, const struct shape *shape,
                         bool with_bias)
{
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    const size_t num_out = (size_t)shape->rows * (size_t)shape->outputs;
    double *values, *wanted = malloc(num_out * sizeof(double));
    void *data =
        fixture_matrix(dtype, (size_t)shape->outputs * (size_t)shape->inputs, 1.0f, &values);
    struct weight *weight = load(device, dtype, shape->outputs, shape->inputs, data);
    float *x = fixture_guarded(num_x), *bias = fixture_guarded((size_t)shape->outputs);
    float *out = fixture_guarded(num_out);
    fixture_fill(x, num_x);
    fixture_fill(bias, (size_t)shape->outputs);

    expect_linear(wanted, shape, values, with_bias ? bias : NULL, x);
    fixture_backend->begin(device);
    fixture_backend->linear(device, out, weight, with_bias ? bias : NULL, x, shape->rows);
    fixture_run(device);
    fixture_compare(fixture_backend->device_isa(device), out, wanted, num_out,
                    1e-6 + 1.5e-7 * shape->inputs, 1e-6);

    fixture_backend->weight_free(weight);
    fixture_guarded_finish(out, num_out);
    fixture_guarded_finish(bias, (size_t)shape->outputs);
    fixture_guarded_finish(x, num_x);
    free(data);
    free(values);
    free(wanted);
}

static void check_linear_shapes(struct device *device)
{
    for (size_t d = 0; d < 3; d++)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
            check_linear(device, dtypes[d], &shapes[i], i % 2 == 0);
}

START_TEST(linear_equals_the_sum_in_double)
{
    fixture_each_linear(check_linear_shapes);
}
END_TEST

/* Law 1: a row's bits whoever is beside it. */
static void check_rows_alone(struct device *device)
{
    enum { ROWS = 64, INPUTS = 700, OUTPUTS = 331 };
    float *x = fixture_guarded(ROWS * INPUTS), *bias = fixture_guarded(OUTPUTS);
    float *together = fixture_guarded(ROWS * OUTPUTS), *part = fixture_guarded(ROWS * OUTPUTS);
    fixture_fill(x, ROWS * INPUTS);
    fixture_fill(bias, OUTPUTS);

    for (size_t d = 0; d < 3; d++) {
        double *values;
        void *data = fixture_matrix(dtypes[d], OUTPUTS * INPUTS, 1.0f, &values);
        struct weight *weight = load(device, dtypes[d], OUTPUTS, INPUTS, data);
        fixture_backend->begin(device);
        fixture_backend->linear(device, together, weight, bias, x, ROWS);
        fixture_run(device);
        for (int32_t rows = 1; rows <= 13; rows++)
            for (int32_t first = 0; first + rows <= ROWS; first += 17) {
                fixture_backend->begin(device);
                fixture_backend->linear(device, part, weight, bias, x + first * INPUTS, rows);
                fixture_run(device);
                ck_assert(
                    fixture_equal_bits(part, together + first * OUTPUTS, (size_t)rows * OUTPUTS));
            }
        fixture_backend->weight_free(weight);
        free(data);
        free(values);
    }
    fixture_guarded_finish(part, ROWS * OUTPUTS);
    fixture_guarded_finish(together, ROWS * OUTPUTS);
    fixture_guarded_finish(bias, OUTPUTS);
    fixture_guarded_finish(x, ROWS * INPUTS);
}

START_TEST(linear_gives_a_row_the_same_bits_alone_and_among_others)
{
    fixture_each_linear(check_rows_alone);
}
END_TEST

START_TEST(linear_gives_the_same_bits_for_any_number_of_threads)
{
    enum { ROWS = 50, INPUTS = 600, OUTPUTS = 200 };
    double *values;
    void *data = fixture_matrix(DTYPE_BF16, OUTPUTS * INPUTS, 1.0f, &values);
    float *x = fixture_guarded(ROWS * INPUTS);
    float *first = fixture_guarded(ROWS * OUTPUTS), *out = fixture_guarded(ROWS * OUTPUTS);
    fixture_fill(x, ROWS * INPUTS);

    for (int i = 0; fixture_linear_isas[i]; i++)
        for (int32_t rows = 1; rows <= ROWS; rows += 49)
            for (int32_t num_threads = 1; num_threads <= 8; num_threads++) {
                struct device *device = fixture_open(fixture_linear_isas[i], num_threads);
                if (!device)
                    continue;
                struct weight *weight = load(device, DTYPE_BF16, OUTPUTS, INPUTS, data);
                fixture_backend->begin(device);
                fixture_backend->linear(device, num_threads == 1 ? first : out, weight, NULL, x,
                                        rows);
                fixture_run(device);
                ck_assert(num_threads == 1 ||
                          fixture_equal_bits(first, out, (size_t)rows * OUTPUTS));
                fixture_backend->weight_free(weight);
                fixture_backend->device_close(device);
            }
    fixture_guarded_finish(out, ROWS * OUTPUTS);
    fixture_guarded_finish(first, ROWS * OUTPUTS);
    fixture_guarded_finish(x, ROWS * INPUTS);
    free(data);
    free(values);
}
END_TEST

static void check_embed(struct device *device)
{
    enum { VOCAB = 77, HIDDEN = 1035, ROWS = 9 };
    const int32_t ids[ROWS] = { 0, 76, 31, 32, 33, 15, 16, 64, 0 };
    double wanted[ROWS * HIDDEN];

    for (size_t d = 0; d < 3; d++) {
        double *values;
        void *data = fixture_matrix(dtypes[d], VOCAB * HIDDEN, 1.0f, &values);
        struct weight *weight = load(device, dtypes[d], VOCAB, HIDDEN, data);
        float *out = fixture_guarded(ROWS * HIDDEN);
        fixture_backend->begin(device);
        fixture_backend->embed(device, out, weight, 1.0f, ids, ROWS);
        fixture_run(device);
        for (int32_t i = 0; i < ROWS * HIDDEN; i++)
            wanted[i] = values[ids[i / HIDDEN] * HIDDEN + i % HIDDEN];
        fixture_compare("embed", out, wanted, ROWS * HIDDEN, 0.0, 0.0);
        fixture_guarded_finish(out, ROWS * HIDDEN);
        fixture_backend->weight_free(weight);
        free(data);
        free(values);
    }
}

START_TEST(embed_reads_rows_exactly)
{
    fixture_each_linear(check_embed);
}
END_TEST

START_TEST(weight_alloc_refuses_an_empty_matrix)
{
    struct device *device = fixture_open("scalar", 1);
    struct weight *weight = NULL;
    struct error err = { 0 };
    ck_assert_int_eq(fixture_backend->weight_alloc(device, DTYPE_F16, 0, 8, &weight, &err), -22);
    ck_assert_ptr_null(weight);
    ck_assert_str_ne(err.message, "");
    ck_assert_int_eq(fixture_backend->weight_alloc(device, DTYPE_F16, 33, 8, &weight, &err), 0);
    ck_assert_uint_eq(fixture_backend->weight_bytes(weight), 64 * 8 * 2);
    fixture_backend->weight_free(weight);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linear");
    TCase *tests = tcase_create("linear");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, linear_equals_the_sum_in_double);
    tcase_add_test(tests, linear_gives_a_row_the_same_bits_alone_and_among_others);
    tcase_add_test(tests, linear_gives_the_same_bits_for_any_number_of_threads);
    tcase_add_test(tests, embed_reads_rows_exactly);
    tcase_add_test(tests, weight_alloc_refuses_an_empty_matrix);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
