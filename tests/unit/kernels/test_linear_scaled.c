/*
 * Weights with scales: products against sums in double over what codes, scales and zeros mean, as
 * the formats' descriptions say it.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

/* How columns belong to groups: so many in each, after `skip` of the first are cut off; mixed: each
 * column's group is drawn. */
static const struct form {
    enum dtype dtype, scales;
    bool has_zeros, is_mixed;
    int32_t group, skip;
} forms[] = {
    { DTYPE_F8_E4M3, DTYPE_F32, false, false, 1 << 20, 0 },
    { DTYPE_F8_E4M3, DTYPE_F32, false, false, 128, 0 },
    { DTYPE_F8_E4M3, DTYPE_BF16, false, false, 128, 77 },
    { DTYPE_I8, DTYPE_F16, true, false, 64, 0 },
    { DTYPE_I8, DTYPE_BF16, false, false, 1 << 20, 0 },
    { DTYPE_I4, DTYPE_F16, false, false, 128, 0 },
    { DTYPE_I4, DTYPE_F16, true, false, 32, 12 },
    { DTYPE_I4, DTYPE_BF16, true, false, 128, 64 },
    { DTYPE_I4, DTYPE_F32, false, false, 1 << 20, 0 },
    { DTYPE_I4, DTYPE_F16, true, true, 64, 0 },
    { DTYPE_I4, DTYPE_F32, false, true, 32, 0 },
};
enum { NUM_FORMS = sizeof(forms) / sizeof(forms[0]) };

static const struct shape {
    int32_t rows, inputs, outputs;
} shapes[] = {
    { 1, 1, 1 },     { 1, 32, 33 },    { 2, 96, 31 },   { 3, 32, 32 },   { 4, 63, 65 },
    { 5, 128, 97 },  { 6, 257, 128 },  { 7, 512, 64 },  { 7, 545, 110 }, { 13, 600, 70 },
    { 64, 96, 161 }, { 1, 1100, 160 }, { 3, 320, 257 }, { 2, 40, 129 },  { 130, 264, 40 },
};

/* A matrix as it is handed over, and what it means. */
struct matrix {
    struct store_object object;
    int32_t *groups;
    unsigned char *rows;
    size_t row_bytes;
    double *values;
    struct weight_store *store;
    struct weight *weight;
};

/* The formula of the format, not its table. */
static double e4m3(unsigned char code)
{
    const int e = code >> 3 & 15, m = code & 7;
    const double magnitude = (code & 0x7f) == 0x7f ? (double)NAN
                             : e == 0              ? ldexp(m, -9)
                                                   : ldexp(1.0 + m / 8.0, e - 7);
    return code & 0x80 ? -magnitude : magnitude;
}

static void make_groups(struct matrix *m, const struct form *form)
{
    const int32_t cols = m->object.cols;
    const int32_t num = (form->skip + cols - 1) / form->group + 1;
    m->groups = malloc((size_t)cols * sizeof(*m->groups));
    ck_assert_ptr_nonnull(m->groups);
    for (int32_t k = 0; k < cols; k++)
        m->groups[k] = form->is_mixed && k >= num ? fixture_random_below(num)
                       : form->is_mixed           ? num - 1 - k
                                                  : (form->skip + k) / form->group;
    m->object.scaling.groups = m->groups;
    m->object.scaling.num_groups = num;
}

static unsigned char random_q(enum dtype dtype)
{
    const int32_t q = fixture_random_below(256);
    if (dtype == DTYPE_F8_E4M3 && (q & 0x7f) == 0x7f)
        return 0x7e;
    return (unsigned char)(dtype == DTYPE_I4 ? q & 15 : q);
}

/* A scale that is kept exactly. */
static float random_scale(const struct form *form)
{
    const float wide = form->dtype == DTYPE_I4 ? 32.0f : form->dtype == DTYPE_I8 ? 512.0f : 1024.0f;
    return (float)fixture_decode(form->scales,
                                 fixture_encode(form->scales, fixture_random() / wide));
}

static double value_of(const struct form *form, unsigned char q, int32_t zero, float scale)
{
    if (form->dtype == DTYPE_F8_E4M3)
        return e4m3(q) * (double)scale;
    return (double)((form->dtype == DTYPE_I8 ? (int8_t)q : q) - zero) * (double)scale;
}

static void make_row(struct matrix *m, const struct form *form, int32_t row)
{
    const int32_t cols = m->object.cols, num = m->object.scaling.num_groups;
    unsigned char *q = m->rows + (size_t)row * m->row_bytes, *scales = q + cols;
    unsigned char *zeros = scales + 4 * num;
    for (int32_t g = 0; g < num; g++) {
        const float scale = random_scale(form);
        memcpy(scales + 4 * g, &scale, 4);
        if (form->has_zeros)
            zeros[g] = random_q(form->dtype);
    }
    for (int32_t k = 0; k < cols; k++) {
        const int32_t g = m->groups[k];
        float scale;
        q[k] = random_q(form->dtype);
        memcpy(&scale, scales + 4 * g, 4);
        const int32_t zero = !form->has_zeros          ? (form->dtype == DTYPE_I4 ? 8 : 0)
                             : form->dtype == DTYPE_I8 ? (int8_t)zeros[g]
                                                       : zeros[g];
        m->values[(size_t)row * (size_t)cols + (size_t)k] = value_of(form, q[k], zero, scale);
    }
}

static struct matrix make(const struct form *form, int32_t rows, int32_t cols)
{
    struct matrix m = { .object = {
                            .dtype = form->dtype,
                            .rows = rows,
                            .cols = cols,
                            .scaling = { .scales = form->scales, .has_zeros = form->has_zeros } } };
    make_groups(&m, form);
    m.row_bytes = scaling_row_bytes(&m.object.scaling, cols);
    m.rows = malloc((size_t)rows * m.row_bytes);
    m.values = malloc((size_t)rows * (size_t)cols * sizeof(double));
    ck_assert(m.rows != NULL && m.values != NULL);
    for (int32_t r = 0; r < rows; r++)
        make_row(&m, form, r);
    return m;
}

/* Into a store of one object, in uneven parts and from an odd address. */
static void load(struct device *device, struct matrix *m)
{
    const struct store_key key = { .identity = 1, .num_ranks = 1 };
    const int32_t rows = m->object.rows, cut = rows / 3;
    struct error err = { 0 };
    ck_assert_msg(fixture_backend->store_create(device, &key, &m->object, 1, &m->store, &err) == 0,
                  "%s", err.message);
    m->weight = fixture_backend->store_weight(m->store, 0);
    unsigned char *odd = malloc((size_t)rows * m->row_bytes + 1);
    ck_assert_ptr_nonnull(odd);
    memcpy(odd + 1, m->rows, (size_t)rows * m->row_bytes);
    fixture_backend->weight_load(m->weight, cut, rows - cut, odd + 1 + (size_t)cut * m->row_bytes);
    fixture_backend->weight_load(m->weight, 0, cut, odd + 1);
    free(odd);
}

static void unload(struct matrix *m)
{
    fixture_backend->store_close(m->store);
    m->store = NULL;
}

static void finish(struct matrix *m)
{
    if (m->store != NULL)
        unload(m);
    free(m->groups);
    free(m->rows);
    free(m->values);
}

static void expect(const struct matrix *m, const float *bias, const float *x, int32_t rows,
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

static void run_linear(struct device *device, float *out, const struct weight *weight,
                       const float *bias, const float *x, int32_t rows)
{
    fixture_backend->begin(device);
    fixture_backend->linear(device, out, weight, bias, x, rows);
    fixture_run(device);
}

static void check_shape(struct device *device, const struct form *form, const struct shape *shape,
                        bool with_bias)
{
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    const size_t num_out = (size_t)shape->rows * (size_t)shape->outputs;
    struct matrix m = make(form, shape->outputs, shape->inputs);
    float *x = fixture_guarded(num_x), *bias = fixture_guarded((size_t)shape->outputs);
    float *out = fixture_guarded(num_out);
    double *wanted = malloc(num_out * sizeof(double));
    ck_assert_ptr_nonnull(wanted);
    fixture_fill(x, num_x);
    fixture_fill(bias, (size_t)shape->outputs);

    load(device, &m);
    expect(&m, with_bias ? bias : NULL, x, shape->rows, wanted);
    run_linear(device, out, m.weight, with_bias ? bias : NULL, x, shape->rows);
    fixture_compare(fixture_backend->device_isa(device), out, wanted, num_out,
                    1e-6 + 1.5e-7 * shape->inputs, 1e-6);

    finish(&m);
    fixture_guarded_finish(out, num_out);
    fixture_guarded_finish(bias, (size_t)shape->outputs);
    fixture_guarded_finish(x, num_x);
    free(wanted);
}

static bool is_possible(const struct form *form, const struct shape *shape)
{
    return !form->is_mixed || shape->inputs >= 32; /* every group has a column */
}

static void check_shapes(struct device *device)
{
    for (int f = 0; f < NUM_FORMS; f++)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
            if (is_possible(&forms[f], &shapes[i]))
                check_shape(device, &forms[f], &shapes[i], i % 2 == 0);
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
    for (int f = 0; f < NUM_FORMS; f++) {
        struct matrix m = make(&forms[f], OUTPUTS, INPUTS);
        load(device, &m);
        run_linear(device, together, m.weight, NULL, x, ROWS);
        for (int32_t rows = 1; rows <= 13; rows++)
            for (int32_t first = 0; first + rows <= ROWS; first += 17) {
                run_linear(device, part, m.weight, NULL, x + first * INPUTS, rows);
                ck_assert(
                    fixture_equal_bits(part, together + first * OUTPUTS, (size_t)rows * OUTPUTS));
            }
        finish(&m);
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
    for (int f = 0; f < NUM_FORMS; f++) {
        struct matrix m = make(&forms[f], OUTPUTS, INPUTS);
        bool any = false;
        for (int i = 0; i < 9; i++) {
            struct device *device = fixture_open(isas[i / 3], 1 + 2 * (i % 3));
            if (!device)
                continue;
            load(device, &m);
            run_linear(device, any ? out : first, m.weight, NULL, x, ROWS);
            ck_assert(!any || fixture_equal_bits(first, out, ROWS * OUTPUTS));
            any = true;
            unload(&m);
            fixture_backend->device_close(device);
        }
        finish(&m);
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
    for (int f = 0; f < NUM_FORMS; f++) {
        if (forms[f].is_mixed)
            continue; /* other order of terms */
        struct matrix m = make(&forms[f], OUTPUTS, INPUTS);
        float *values = malloc(sizeof(float) * OUTPUTS * INPUTS);
        struct weight *weight = NULL;
        ck_assert_ptr_nonnull(values);
        for (int i = 0; i < OUTPUTS * INPUTS; i++)
            values[i] = (float)m.values[i];
        ck_assert_int_eq(
            fixture_backend->weight_alloc(device, DTYPE_F32, OUTPUTS, INPUTS, &weight, NULL), 0);
        fixture_backend->weight_load(weight, 0, OUTPUTS, values);
        load(device, &m);
        for (int32_t rows = 1; rows <= 5; rows += 4) {
            run_linear(device, out, m.weight, NULL, x, rows);
            run_linear(device, plain, weight, NULL, x, rows);
            ck_assert(fixture_equal_bits(out, plain, (size_t)rows * OUTPUTS));
        }
        fixture_backend->weight_free(weight);
        free(values);
        finish(&m);
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

/* Every code of E4M3 by every sign of scale, none lost; a NaN spoils its row alone. */
static void check_codes(struct device *device)
{
    enum { N = 40, K = 256 };
    static const float scales[] = { 1.0f, -0.5f, 0.0f, 0x1p-149f, 0x1p-120f, 0x1p+100f };
    const struct form form = { DTYPE_F8_E4M3, DTYPE_F32, false, false, 1 << 20, 0 };
    struct matrix m = make(&form, N, K);
    float x[K], out[N];
    for (int32_t n = 0; n < N; n++) {
        unsigned char *row = m.rows + (size_t)n * m.row_bytes;
        for (int32_t k = 0; k < K; k++)
            row[k] = (k & 0x7f) == 0x7f && n % 7 != 6 ? 0 : (unsigned char)k;
        memcpy(row + K, &scales[n % 6], 4);
    }
    load(device, &m);
    for (int32_t k = 0; k < K; k++) {
        memset(x, 0, sizeof(x));
        x[k] = 1.0f;
        run_linear(device, out, m.weight, NULL, x, 1);
        for (int32_t n = 0; n < N; n++) {
            const unsigned char code = (k & 0x7f) == 0x7f ? 0 : (unsigned char)k;
            const float wanted = (float)(e4m3(code) * (double)scales[n % 6]);
            if (n % 7 == 6)
                ck_assert(isnan(out[n]));
            else
                ck_assert_msg(out[n] == wanted, "code %d, row %d: %g, wanted %g", k, n,
                              (double)out[n], (double)wanted);
        }
    }
    finish(&m);
}

START_TEST(every_code_of_e4m3_is_exact_and_nan_stays_nan)
{
    fixture_each_device(check_codes);
}
END_TEST

/* Scales that are zero, subnormal, largest, negative, infinite or NaN; q and zeros at both ends. */
static void check_extremes(struct device *device)
{
    enum { N = 36, K = 64 };
    static const uint32_t scales[] = { 0x0000, 0x0001, 0x83ff, 0x7bff, 0xc500, 0x7c00, 0x7e00 };
    static const unsigned char ends[] = { 0, 15, 7, 8, 0x80, 0x7f, 0xff };
    static const enum dtype dtypes[] = { DTYPE_I4, DTYPE_I8 };
    float x[2 * K], out[2 * N];
    for (int i = 0; i < 2 * K; i++)
        x[i] = i < K ? 1.0f : i % 2 ? -3.0f : 2.0f;
    for (int d = 0; d < 2; d++) {
        const struct form form = { dtypes[d], DTYPE_F16, true, false, 1 << 20, 0 };
        const unsigned char mask = d == 0 ? 15 : 255;
        struct matrix m = make(&form, N, K);
        for (int32_t n = 0; n < N; n++) {
            unsigned char *row = m.rows + (size_t)n * m.row_bytes;
            const float scale = (float)fixture_decode(DTYPE_F16, scales[n % 7]);
            memset(row, ends[n / 7 % 7] & mask, K);
            memcpy(row + K, &scale, 4);
            row[K + 4] = ends[n % 5] & mask;
        }
        load(device, &m);
        run_linear(device, out, m.weight, NULL, x, 2);
        for (int32_t n = 0; n < 2 * N; n++) {
            const unsigned char *row = m.rows + (size_t)(n % N) * m.row_bytes;
            const double scale = fixture_decode(DTYPE_F16, scales[n % N % 7]);
            const double q = d == 0 ? row[0] : (int8_t)row[0];
            const double zero = d == 0 ? row[K + 4] : (int8_t)row[K + 4];
            const double wanted = (n < N ? K : -K / 2) * scale * (q - zero);
            if (!isfinite(scale))
                ck_assert(!isfinite(out[n]));
            else
                ck_assert_double_le(fabs((double)out[n] - wanted),
                                    1e-6 * 3 * K * fabs(scale * 255));
        }
        finish(&m);
    }
}

START_TEST(extreme_groups_are_computed_like_others)
{
    fixture_each_device(check_extremes);
}
END_TEST

static void check_embed(struct device *device)
{
    enum { VOCAB = 77, HIDDEN = 600, NUM = 6 };
    const int32_t ids[NUM] = { 0, 76, 31, 32, 33, 0 };
    static float out[NUM * HIDDEN];
    for (int f = 0; f < NUM_FORMS; f++) {
        struct matrix m = make(&forms[f], VOCAB, HIDDEN);
        load(device, &m);
        fixture_backend->begin(device);
        fixture_backend->embed(device, out, m.weight, 1.0f, ids, NUM);
        fixture_run(device);
        for (int i = 0; i < NUM * HIDDEN; i++)
            ck_assert(out[i] == (float)m.values[ids[i / HIDDEN] * HIDDEN + i % HIDDEN]);
        finish(&m);
    }
}

START_TEST(embed_reads_what_weights_mean)
{
    fixture_each_device(check_embed);
}
END_TEST

START_TEST(memory_is_little_more_than_quants_and_scales)
{
    struct device *device = fixture_open("scalar", 1);
    struct matrix m = make(&forms[6], 33, 244); /* two panels; 20 + 7 groups of 32 */
    load(device, &m);
    ck_assert_int_eq(m.object.scaling.num_groups, 8);
    ck_assert_uint_eq(scaling_panel_bytes(&m.object), 32 * (8 * 3 + (24 + 7 * 32) / 2));
    ck_assert_uint_eq(fixture_backend->weight_bytes(m.weight), 2 * scaling_panel_bytes(&m.object));
    finish(&m);
    fixture_backend->device_close(device);
}
END_TEST

START_TEST(groups_that_are_none_are_refused)
{
    const struct store_key key = { .identity = 1, .num_ranks = 1 };
    static const int32_t below[] = { 0, -1, 1 }, beyond[] = { 0, 2, 1 }, empty[] = { 0, 0, 0 };
    const int32_t *const lists[] = { below, beyond, empty, NULL };
    struct device *device = fixture_open("scalar", 1);
    struct weight_store *store = NULL;
    struct error err;
    for (int i = 0; i < 4; i++) {
        const struct store_object object = { DTYPE_I4, 4, 3, { DTYPE_F16, false, 2, lists[i] } };
        ck_assert_int_eq(fixture_backend->store_create(device, &key, &object, 1, &store, &err),
                         -EINVAL);
    }
    fixture_backend->device_close(device);
}
END_TEST

START_TEST(who_attaches_has_the_same_groups_or_is_refused)
{
    const struct store_key key = { .identity = 1, .num_ranks = 1 };
    struct device *device = fixture_open("scalar", 1);
    struct matrix m = make(&forms[9], 40, 256);
    struct weight_store *other = NULL;
    struct error err;
    float x[256], before[40], after[40];
    int fd = -1;
    fixture_fill(x, 256);
    load(device, &m);
    run_linear(device, before, m.weight, NULL, x, 1);
    ck_assert_int_eq(fixture_backend->store_seal(m.store, &fd, &err), 0);
    ck_assert_int_eq(fixture_backend->store_attach(device, &key, &m.object, 1, fd, &other, &err),
                     0);
    run_linear(device, after, fixture_backend->store_weight(other, 0), NULL, x, 1);
    ck_assert_mem_eq(before, after, sizeof(before));
    fixture_backend->store_close(other);
    int32_t swap = 1;
    while (m.groups[swap] == m.groups[0])
        swap++;
    m.groups[0] = m.groups[swap];
    m.groups[swap] = (m.groups[0] + 1) % m.object.scaling.num_groups;
    ck_assert_int_eq(fixture_backend->store_attach(device, &key, &m.object, 1, fd, &other, &err),
                     -EPROTO);
    close(fd);
    finish(&m);
    fixture_backend->device_close(device);
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
    tcase_add_test(tests, every_code_of_e4m3_is_exact_and_nan_stays_nan);
    tcase_add_test(tests, extreme_groups_are_computed_like_others);
    tcase_add_test(tests, embed_reads_what_weights_mean);
    tcase_add_test(tests, memory_is_little_more_than_quants_and_scales);
    tcase_add_test(tests, groups_that_are_none_are_refused);
    tcase_add_test(tests, who_attaches_has_the_same_groups_or_is_refused);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
