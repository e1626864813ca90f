/*
 * Weights in blocks: products against sums in double over what the blocks mean (formats/block.h)
 * and activations rounded as kernels/cpu/quant.h says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "fixture.h"
#include "formats/block.h"

static const struct form {
    enum dtype dtype;
    enum block_type type;
    size_t scales[2]; /* where the 16-bit floats of a block lie */
} forms[] = {
    { DTYPE_Q8_0, BLOCK_Q8_0, { 0, 0 } },     { DTYPE_Q4_0, BLOCK_Q4_0, { 0, 0 } },
    { DTYPE_Q4_K, BLOCK_Q4_K, { 0, 2 } },     { DTYPE_Q6_K, BLOCK_Q6_K, { 208, 208 } },
    { DTYPE_Q4_1, BLOCK_Q4_1, { 0, 2 } },     { DTYPE_Q5_0, BLOCK_Q5_0, { 0, 0 } },
    { DTYPE_Q5_1, BLOCK_Q5_1, { 0, 2 } },     { DTYPE_Q2_K, BLOCK_Q2_K, { 80, 82 } },
    { DTYPE_Q3_K, BLOCK_Q3_K, { 108, 108 } }, { DTYPE_Q5_K, BLOCK_Q5_K, { 0, 2 } },
};
enum { NUM_FORMS = sizeof(forms) / sizeof(forms[0]) };

static const struct shape {
    int32_t rows, inputs, outputs;
} shapes[] = {
    { 1, 32, 1 },    { 1, 64, 33 },    { 2, 96, 31 },   { 3, 32, 32 },
    { 4, 64, 65 },   { 5, 128, 97 },   { 6, 256, 128 }, { 7, 512, 64 },
    { 7, 544, 300 }, { 13, 1024, 70 }, { 64, 96, 289 }, { 1, 2048, 160 },
    { 3, 320, 257 }, { 2, 32, 129 },   { 600, 64, 40 }, { 45, 640, 70 },
};

/* fixture_each_device(), and the sets that differ from another here alone. */
static void each_device(void (*test)(struct device *device))
{
    fixture_each_device(test);
    static const char *const isas[] = { "avx512_vnni", "avx512_amx", "neon_dot" };
    for (int i = 0; i < 3; i++) {
        struct device *device = fixture_open(isas[i], 3);
        if (!device)
            continue;
        test(device);
        fixture_backend->device_close(device);
    }
}

/* Blocks with random bytes and scales of ordinary size. */
static unsigned char *make_blocks(const struct form *form, int32_t rows, int32_t cols)
{
    const struct block_info *info = block_info(form->type);
    const size_t num = (size_t)rows * (size_t)(cols / info->elements), size = (size_t)info->bytes;
    unsigned char *blocks = malloc(num * size);
    ck_assert_ptr_nonnull(blocks);
    for (size_t i = 0; i < num * size; i++)
        blocks[i] = (unsigned char)fixture_random_below(256);
    for (size_t i = 0; i < 2 * num; i++) {
        const float wide = info->elements > 32 ? 4096.0f : 64.0f; /* sub-scales reach 63 and 127 */
        const uint16_t scale = half_to_f16(fixture_random() / wide);
        memcpy(blocks + i / 2 * size + form->scales[i % 2], &scale, 2);
    }
    return blocks;
}

static struct weight *load(struct device *device, const struct form *form, int32_t rows,
                           int32_t cols, const unsigned char *blocks)
{
    struct weight *weight = NULL;
    struct error err = { 0 };
    const int32_t cut = rows / 3;
    const size_t row_bytes = dtype_row_bytes(form->dtype, cols);
    ck_assert_msg(fixture_backend->weight_alloc(device, form->dtype, rows, cols, &weight, &err) ==
                      0,
                  "%s", err.message);
    fixture_backend->weight_load(weight, cut, rows - cut, blocks + (size_t)cut * row_bytes);
    fixture_backend->weight_load(weight, 0, cut, blocks);
    return weight;
}

/* What a block of activations is after rounding. */
static void round_block(const float *x, double *rounded)
{
    float largest = 0.0f;
    for (int k = 0; k < 32; k++)
        largest = fmaxf(largest, fabsf(x[k]));
    for (int k = 0; k < 32; k++)
        rounded[k] = largest < 0x1p-100f ? 0.0
                                         : nearbyint((double)(x[k] * (127.0f / largest))) *
                                               (double)(largest / 127.0f);
}

static void expect(const struct form *form, const struct shape *shape, const unsigned char *blocks,
                   const float *bias, const float *x, double *wanted)
{
    const size_t num_w = (size_t)shape->outputs * (size_t)shape->inputs;
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    float *w = malloc(num_w * sizeof(float));
    double *rounded = malloc(num_x * sizeof(double));
    ck_assert(w != NULL && rounded != NULL);
    block_widen(form->type, blocks, w, num_w / (size_t)block_info(form->type)->elements);
    for (size_t i = 0; i < num_x; i += 32)
        round_block(x + i, rounded + i);
    for (int32_t r = 0; r < shape->rows; r++)
        for (int32_t n = 0; n < shape->outputs; n++) {
            double sum = bias ? (double)bias[n] : 0.0;
            for (int32_t k = 0; k < shape->inputs; k++)
                sum += (double)w[n * shape->inputs + k] * rounded[r * shape->inputs + k];
            wanted[r * shape->outputs + n] = sum;
        }
    free(w);
    free(rounded);
}

static void run_linear(struct device *device, float *out, const struct weight *weight,
                       const float *bias, const float *x, int32_t rows)
{
    fixture_backend->begin(device);
    fixture_backend->linear(device, out, weight, bias, x, rows);
    fixture_run(device);
}

static void check_shape(struct device *device, const struct form *form, const struct shape *given,
                        bool with_bias)
{
    const int32_t block = block_info(form->type)->elements;
    const struct shape whole = { given->rows, (given->inputs + block - 1) / block * block,
                                 given->outputs };
    const struct shape *shape = &whole;
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    const size_t num_out = (size_t)shape->rows * (size_t)shape->outputs;
    unsigned char *blocks = make_blocks(form, shape->outputs, shape->inputs);
    struct weight *weight = load(device, form, shape->outputs, shape->inputs, blocks);
    float *x = fixture_guarded(num_x), *bias = fixture_guarded((size_t)shape->outputs);
    float *out = fixture_guarded(num_out);
    double *wanted = malloc(num_out * sizeof(double));
    fixture_fill(x, num_x);
    fixture_fill(bias, (size_t)shape->outputs);

    expect(form, shape, blocks, with_bias ? bias : NULL, x, wanted);
    run_linear(device, out, weight, with_bias ? bias : NULL, x, shape->rows);
    fixture_compare(fixture_backend->device_isa(device), out, wanted, num_out,
                    1e-6 + 1.5e-7 * shape->inputs, 1e-6);

    fixture_backend->weight_free(weight);
    fixture_guarded_finish(out, num_out);
    fixture_guarded_finish(bias, (size_t)shape->outputs);
    fixture_guarded_finish(x, num_x);
    free(blocks);
    free(wanted);
}

static void check_shapes(struct device *device)
{
    for (int f = 0; f < NUM_FORMS; f++)
        for (size_t i = f < 4 ? 0 : (size_t)(f % 2); i < sizeof(shapes) / sizeof(shapes[0]);
             i += f < 4 ? 1 : 2)
            check_shape(device, &forms[f], &shapes[i], i % 2 == 0);
}

START_TEST(products_equal_the_sum_in_double)
{
    each_device(check_shapes);
}
END_TEST

enum { ROWS = 64, INPUTS = 768, OUTPUTS = 331 };

/* Law 1: a row's bits whoever is beside it. */
static void check_rows_alone(struct device *device)
{
    const bool is_scalar = strcmp(fixture_backend->device_isa(device), "scalar") == 0;
    const int32_t step = is_scalar || fixture_is_sampled() ? 4 : 1; /* slow */
    float *x = fixture_guarded(ROWS * INPUTS);
    float *together = fixture_guarded(ROWS * OUTPUTS), *part = fixture_guarded(ROWS * OUTPUTS);
    fixture_fill(x, ROWS * INPUTS);
    for (int f = 0; f < NUM_FORMS; f++) {
        unsigned char *blocks = make_blocks(&forms[f], OUTPUTS, INPUTS);
        struct weight *weight = load(device, &forms[f], OUTPUTS, INPUTS, blocks);
        run_linear(device, together, weight, NULL, x, ROWS);
        for (int32_t rows = 1; rows <= 17; rows += step)
            for (int32_t first = 0; first + rows <= ROWS; first += 17) {
                run_linear(device, part, weight, NULL, x + first * INPUTS, rows);
                ck_assert(
                    fixture_equal_bits(part, together + first * OUTPUTS, (size_t)rows * OUTPUTS));
            }
        fixture_backend->weight_free(weight);
        free(blocks);
    }
    fixture_guarded_finish(part, ROWS * OUTPUTS);
    fixture_guarded_finish(together, ROWS * OUTPUTS);
    fixture_guarded_finish(x, ROWS * INPUTS);
}

START_TEST(a_row_has_the_same_bits_alone_and_among_others)
{
    each_device(check_rows_alone);
}
END_TEST

/* Integer sums are exact and floats are added alike: all vector sets agree to the last bit. */
START_TEST(vector_sets_and_numbers_of_threads_agree_to_the_bit)
{
    static const char *const isas[] = { "avx2",       "avx512", "avx512_vnni",
                                        "avx512_amx", "neon",   "neon_dot" };
    float *x = fixture_guarded(ROWS * INPUTS);
    float *first = fixture_guarded(ROWS * OUTPUTS), *out = fixture_guarded(ROWS * OUTPUTS);
    fixture_fill(x, ROWS * INPUTS);
    for (int f = 0; f < NUM_FORMS; f++) {
        unsigned char *blocks = make_blocks(&forms[f], OUTPUTS, INPUTS);
        bool any = false;
        for (int i = 0; i < 18; i++) {
            struct device *device = fixture_open(isas[i / 3], 1 + 2 * (i % 3));
            if (!device)
                continue;
            struct weight *weight = load(device, &forms[f], OUTPUTS, INPUTS, blocks);
            run_linear(device, any ? out : first, weight, NULL, x, ROWS);
            ck_assert(!any || fixture_equal_bits(first, out, ROWS * OUTPUTS));
            any = true;
            fixture_backend->weight_free(weight);
            fixture_backend->device_close(device);
        }
        free(blocks);
    }
    fixture_guarded_finish(out, ROWS * OUTPUTS);
    fixture_guarded_finish(first, ROWS * OUTPUTS);
    fixture_guarded_finish(x, ROWS * INPUTS);
}
END_TEST

/* Scales zero, subnormal, largest and negative; quants at both ends, -128 among them. */
static void check_extremes(struct device *device)
{
    enum { N = 36, K = 512, M = 29 }; /* rows for every form of the kernel */
    static const uint16_t scales[] = { 0x0000, 0x0001, 0x83ff, 0x7bff, 0xc500, 0x8000 };
    static const unsigned char fills[] = { 0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0 };
    const struct shape shape = { M, K, N };
    static float x[M * K];
    float out[M * N];
    double wanted[M * N];
    for (int i = 0; i < M * K; i++)
        x[i] = i / K % 3 == 0   ? 1.0f
               : i / K % 3 == 1 ? (i % 2 ? -3.0f : 2.0f)
                                : fixture_random() * 1e-20f;
    for (int f = 0; f < NUM_FORMS; f++) {
        const struct block_info *info = block_info(forms[f].type);
        const size_t size = (size_t)info->bytes, each = (size_t)(K / info->elements);
        unsigned char *blocks = make_blocks(&forms[f], N, K);
        for (size_t i = 0; i < N * each; i++) {
            memset(blocks + i * size, fills[i / each / 6], size);
            for (int s = 0; s < 2; s++)
                memcpy(blocks + i * size + forms[f].scales[s], &scales[i / each % 6], 2);
        }
        struct weight *weight = load(device, &forms[f], N, K, blocks);
        expect(&forms[f], &shape, blocks, NULL, x, wanted);
        run_linear(device, out, weight, NULL, x, M);
        for (int i = 0; i < M * N; i++) /* against the size of the terms: they may cancel */
            ck_assert_double_le(fabs((double)out[i] - wanted[i]),
                                1e-6 * (fabs(wanted[i]) + (double)K * 3.0 * 65504.0 * 63.0 * 63.0));
        fixture_backend->weight_free(weight);
        free(blocks);
    }
}

START_TEST(extreme_blocks_are_computed_like_others)
{
    each_device(check_extremes);
}
END_TEST

static void check_not_finite(struct device *device)
{
    static const float odd[] = { NAN, INFINITY, -INFINITY };
    enum { K = 256 };
    static float x[5 * K];
    float out[5 * 40], clean[5 * 40];
    for (int f = 0; f < NUM_FORMS; f++) {
        unsigned char *blocks = make_blocks(&forms[f], 40, K);
        struct weight *weight = load(device, &forms[f], 40, K, blocks);
        fixture_fill(x, 5 * K);
        run_linear(device, clean, weight, NULL, x, 5);
        for (int i = 0; i < 3; i++)
            x[(1 + i) * K + 40] = odd[i];
        run_linear(device, out, weight, NULL, x, 5);
        for (int i = 0; i < 5 * 40; i++)
            ck_assert(i / 40 >= 1 && i / 40 <= 3 ? isnan(out[i]) : out[i] == clean[i]);
        fixture_backend->weight_free(weight);
        free(blocks);
    }
}

START_TEST(a_row_that_is_not_finite_gives_nan_and_spoils_no_other)
{
    each_device(check_not_finite);
}
END_TEST

static void check_zero(struct device *device)
{
    float x[64] = { 0 }, out[40];
    x[40] = 1e-38f;
    x[41] = -0.0f;
    unsigned char *blocks = make_blocks(&forms[0], 40, 64);
    struct weight *weight = load(device, &forms[0], 40, 64, blocks);
    run_linear(device, out, weight, NULL, x, 1);
    for (int i = 0; i < 40; i++)
        ck_assert(out[i] == 0.0f);
    fixture_backend->weight_free(weight);
    free(blocks);
}

START_TEST(activations_of_zero_and_nearly_zero_give_zero)
{
    each_device(check_zero);
}
END_TEST

static void check_embed(struct device *device)
{
    enum { VOCAB = 77, HIDDEN = 1280, NUM = 6 };
    const int32_t ids[NUM] = { 0, 76, 31, 32, 33, 0 };
    static float w[VOCAB * HIDDEN], out[NUM * HIDDEN];
    for (int f = 0; f < NUM_FORMS; f++) {
        unsigned char *blocks = make_blocks(&forms[f], VOCAB, HIDDEN);
        struct weight *weight = load(device, &forms[f], VOCAB, HIDDEN, blocks);
        block_widen(forms[f].type, blocks, w,
                    VOCAB * HIDDEN / (size_t)block_info(forms[f].type)->elements);
        fixture_backend->begin(device);
        fixture_backend->embed(device, out, weight, 1.0f, ids, NUM);
        fixture_run(device);
        for (int i = 0; i < NUM; i++)
            ck_assert_mem_eq(out + i * HIDDEN, w + ids[i] * HIDDEN, HIDDEN * sizeof(float));
        fixture_backend->weight_free(weight);
        free(blocks);
    }
}

START_TEST(embed_reads_what_blocks_mean)
{
    each_device(check_embed);
}
END_TEST

START_TEST(memory_is_what_the_file_has_and_rows_are_whole_blocks)
{
    struct device *device = fixture_open("scalar", 1);
    struct weight *weight = NULL;
    struct error err = { 0 };
    ck_assert_int_eq(fixture_backend->weight_alloc(device, DTYPE_Q8_0, 32, 48, &weight, &err), -22);
    ck_assert_ptr_nonnull(strstr(err.message, "no whole blocks"));
    for (int f = 0; f < NUM_FORMS; f++) {
        ck_assert_int_eq(
            fixture_backend->weight_alloc(device, forms[f].dtype, 64, 512, &weight, &err), 0);
        const struct block_info *info = block_info(forms[f].type);
        const size_t in_file = 64 * 512 / (size_t)info->elements * (size_t)info->bytes;
        ck_assert_uint_eq(fixture_backend->weight_bytes(weight),
                          forms[f].dtype == DTYPE_Q4_K   ? in_file / 144 * 148
                          : forms[f].dtype == DTYPE_Q5_K ? in_file / 176 * 180
                          : forms[f].dtype == DTYPE_Q3_K ? in_file / 110 * 114
                                                         : in_file);
        fixture_backend->weight_free(weight);
    }
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linear_quant");
    TCase *tests = tcase_create("linear_quant");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, products_equal_the_sum_in_double);
    tcase_add_test(tests, a_row_has_the_same_bits_alone_and_among_others);
    tcase_add_test(tests, vector_sets_and_numbers_of_threads_agree_to_the_bit);
    tcase_add_test(tests, extreme_blocks_are_computed_like_others);
    tcase_add_test(tests, a_row_that_is_not_finite_gives_nan_and_spoils_no_other);
    tcase_add_test(tests, activations_of_zero_and_nearly_zero_give_zero);
    tcase_add_test(tests, embed_reads_what_blocks_mean);
    tcase_add_test(tests, memory_is_what_the_file_has_and_rows_are_whole_blocks);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
