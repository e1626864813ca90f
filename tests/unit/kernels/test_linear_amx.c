/*
 * The kernel for AMX on its instructions in plain C: the bits of VNNI, on machines without AMX too.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "kernels/cpu/op.h"

void linear_quant_amx_model(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                            int32_t row_from, int32_t row_to);

static const enum dtype dtypes[] = { DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,
                                     DTYPE_Q2_K, DTYPE_Q3_K, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K };
static const struct shape {
    int32_t rows, inputs, outputs;
} shapes[] = {
    { 24, 256, 32 }, { 31, 768, 33 }, { 48, 512, 17 }, { 57, 1280, 64 }, { 530, 256, 40 }
};
enum { NUM_TYPES = 10, NUM_SHAPES = 5 };

/* Bytes of any value are weights; 16-bit scales stay finite without the highest exponents. */
static struct weight *make_weight(struct device *device, enum dtype dtype,
                                  const struct shape *shape)
{
    struct weight *weight = NULL;
    struct error err = { 0 };
    const size_t size = dtype_row_bytes(dtype, shape->inputs) * (size_t)shape->outputs;
    unsigned char *blocks = malloc(size);
    ck_assert_ptr_nonnull(blocks);
    for (size_t i = 0; i < size; i++)
        blocks[i] = (unsigned char)(fixture_random_below(256) & 0xbf);
    ck_assert_int_eq(
        fixture_backend->weight_alloc(device, dtype, shape->outputs, shape->inputs, &weight, &err),
        0);
    fixture_backend->weight_load(weight, 0, shape->outputs, blocks);
    free(blocks);
    return weight;
}

static struct quant_rows make_rows(const struct shape *shape, const float *x)
{
    const size_t rows = (size_t)shape->rows, blocks = (size_t)shape->inputs / QUANT_BLOCK;
    struct quant_rows quants = {
        .q = malloc(rows * (size_t)quant_stride(shape->inputs)),
        .scales = malloc(rows * blocks * sizeof(float)),
        .sums = malloc(rows * blocks * 2 * sizeof(int32_t)),
    };
    const struct quantize_args args = { quants, x, shape->rows, shape->inputs };
    ck_assert(quants.q && quants.scales && quants.sums);
    isa_scalar.quantize(&args, 0, shape->rows);
    return quants;
}

static void check(struct device *device, enum dtype dtype, const struct shape *shape)
{
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    const size_t num_out = (size_t)shape->rows * (size_t)shape->outputs;
    float *x = fixture_guarded(num_x), *bias = fixture_guarded((size_t)shape->outputs);
    float *wanted = fixture_guarded(num_out), *got = fixture_guarded(num_out);
    fixture_fill(x, num_x);
    fixture_fill(bias, (size_t)shape->outputs);
    struct weight *weight = make_weight(device, dtype, shape);
    struct linear_args args = {
        .out = wanted,
        .weight = weight,
        .bias = shape->rows % 2 ? bias : NULL,
        .out_stride = shape->outputs,
        .quants = make_rows(shape, x),
        .rows = shape->rows,
    };

    isa_avx512_vnni.linear_quant(&args, 0, weight->num_panels, 0, shape->rows);
    args.out = got;
    linear_quant_amx_model(&args, 0, weight->num_panels, 0, shape->rows);
    ck_assert_msg(fixture_equal_bits(got, wanted, num_out), "type %d, %d rows", dtype, shape->rows);

    free(args.quants.q);
    free(args.quants.scales);
    free(args.quants.sums);
    fixture_backend->weight_free(weight);
    fixture_guarded_finish(got, num_out);
    fixture_guarded_finish(wanted, num_out);
    fixture_guarded_finish(bias, (size_t)shape->outputs);
    fixture_guarded_finish(x, num_x);
}

START_TEST(tiles_in_plain_c_give_the_bits_of_vnni)
{
    struct device *device = fixture_open("avx512_vnni", 1);
    ck_assert_ptr_nonnull(device);
    for (int t = 0; t < NUM_TYPES; t++)
        for (int s = 0; s < NUM_SHAPES; s++)
            check(device, dtypes[t], &shapes[s]);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    if (!isa_avx512_vnni.is_supported())
        return 77;
    Suite *suite = suite_create("linear_amx");
    TCase *tests = tcase_create("linear_amx");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, tiles_in_plain_c_give_the_bits_of_vnni);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
