/*
 * bf16 weights in tiles: the kernel on the instructions in plain C against its formula, to the bit,
 * on machines without AMX too; and where there is AMX, the same on the unit itself.
 */
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "fixture.h"
#include "kernels/cpu/device.h"

typedef void linear_function(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                             int32_t row_from, int32_t row_to);
void linear_bf16_row(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                     int32_t row);
void linear_bf16_amx_model(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                           int32_t row_from, int32_t row_to);

struct shape {
    int32_t rows, inputs, outputs;
};

static void *room;

static void row_by_row(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                       int32_t row_from, int32_t row_to)
{
    for (int32_t row = row_from; row < row_to; row++)
        linear_bf16_row(args, panel_from, panel_to, row);
}

static const struct {
    const char *name;
    linear_function *run; /* NULL: what the set of the unit has */
} forms[] = { { "tiles in plain C", linear_bf16_amx_model },
              { "rows by FMA", row_by_row },
              { "the unit", NULL } };
enum { NUM_FORMS = sizeof(forms) / sizeof(forms[0]) };

/* NULL where there is no unit. */
static linear_function *form(int i)
{
    linear_function *unit = isa_avx512_amx.is_supported() ? isa_avx512_amx.linear_tiles : NULL;
    return forms[i].run != NULL ? forms[i].run : unit;
}

/* What a number is made from: about 1, bits of any finite number, or of any at all. */
enum kind { KIND_PLAIN, KIND_FINITE, KIND_ANY, NUM_KINDS };

static float make_number(enum kind kind)
{
    uint32_t bits = (uint32_t)fixture_random_below(1 << 16) << 16;
    bits |= (uint32_t)fixture_random_below(1 << 16);
    if (kind == KIND_PLAIN)
        return fixture_random();
    if (kind == KIND_FINITE && (bits & 0x7f800000) == 0x7f800000)
        bits &= 0xbfffffff;
    return float_from_bits(bits);
}

static struct weight *make_weight(const struct shape *shape, enum kind kind, uint16_t *values)
{
    struct device device = { .isa = &isa_avx512_amx };
    struct weight *weight = NULL;
    struct error err = { 0 };
    for (int64_t i = 0; i < (int64_t)shape->outputs * shape->inputs; i++)
        values[i] = (uint16_t)(float_to_bits(make_number(kind)) >> 16);
    ck_assert_int_eq(
        weight_alloc(&device, DTYPE_BF16, shape->outputs, shape->inputs, &weight, &err), 0);
    ck_assert(weight->in_tiles);
    weight_load(weight, 0, shape->outputs, values);
    return weight;
}

/* --- the formula ----------------------------------------------------------------------------- */

__attribute__((target("fma"))) static float fma_once(float a, float b, float c)
{
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

/* The first 8 bits of what x has left. */
static float take_part(float *x)
{
    const float part = float_from_bits(float_to_bits(*x) & 0xffff0000);
    *x = isinf(*x) ? 0.0f : *x - part;
    return part;
}

static float expect_one(const float *x, const uint16_t *w, int32_t inputs)
{
    float total = 0.0f, left[32];
    for (int32_t first = 0; first < inputs; first += 32) {
        const int32_t num = inputs - first < 32 ? inputs - first : 32;
        memcpy(left, x + first, (size_t)num * sizeof(float));
        for (int part = 0; part < 3; part++) {
            float sums[2] = { 0.0f, 0.0f };
            for (int32_t k = 0; k < num; k++)
                sums[k % 2] =
                    fma_once(take_part(&left[k]), half_from_bf16(w[first + k]), sums[k % 2]);
            total += sums[0] + sums[1];
        }
    }
    return total;
}

/* Without subnormal numbers: a part that is one would count for nothing. */
static void expect(const struct shape *shape, const float *x, const uint16_t *w, const float *bias,
                   float *out)
{
    const unsigned csr = _mm_getcsr();
    for (int32_t r = 0; r < shape->rows; r++)
        for (int32_t n = 0; n < shape->outputs; n++) {
            _mm_setcsr(csr | 0x8040);
            const float sum = expect_one(x + (int64_t)r * shape->inputs,
                                         w + (int64_t)n * shape->inputs, shape->inputs);
            _mm_setcsr(csr);
            out[(int64_t)r * shape->outputs + n] = bias ? sum + bias[n] : sum;
        }
}

/* Which of two NaN goes on is not ours to say. */
static bool are_same(const float *a, const float *b, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (float_to_bits(a[i]) != float_to_bits(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void check_shape(const struct shape *shape, enum kind kind)
{
    const size_t num_x = (size_t)shape->rows * (size_t)shape->inputs;
    const size_t num_out = (size_t)shape->rows * (size_t)shape->outputs;
    float *x = fixture_guarded(num_x), *bias = fixture_guarded((size_t)shape->outputs);
    float *wanted = fixture_guarded(num_out), *got = fixture_guarded(num_out);
    uint16_t *values = malloc((size_t)shape->outputs * (size_t)shape->inputs * sizeof(*values));
    ck_assert_ptr_nonnull(values);
    struct weight *weight = make_weight(shape, kind, values);
    fixture_fill(bias, (size_t)shape->outputs);
    for (size_t i = 0; i < num_x; i++)
        x[i] = make_number(kind);
    const struct linear_args args = { .out = got,
                                      .weight = weight,
                                      .bias = shape->rows % 2 ? bias : NULL,
                                      .x = x,
                                      .out_stride = shape->outputs,
                                      .x_stride = shape->inputs,
                                      .room = room,
                                      .rows = shape->rows };

    expect(shape, x, values, args.bias, wanted);
    for (int i = 0; i < NUM_FORMS && form(i) != NULL; i++) {
        memset(got, 0xff, num_out * sizeof(float));
        form(i)(&args, 0, weight->num_panels, 0, shape->rows);
        ck_assert_msg(are_same(got, wanted, num_out),
                      "%s: %d rows, %d inputs, %d outputs, numbers %d", forms[i].name, shape->rows,
                      shape->inputs, shape->outputs, kind);
    }
    weight_free(weight);
    free(values);
    fixture_guarded_finish(got, num_out);
    fixture_guarded_finish(wanted, num_out);
    fixture_guarded_finish(bias, (size_t)shape->outputs);
    fixture_guarded_finish(x, num_x);
}

/* Both sides of tiles and panels, odd inputs, and more of both than one pass has. */
START_TEST(tiles_give_the_sums_in_their_order)
{
    static const struct shape shapes[] = { { 1, 1, 1 },     { 2, 31, 16 },  { 3, 33, 17 },
                                           { 5, 64, 33 },   { 15, 95, 65 }, { 16, 32, 48 },
                                           { 17, 97, 100 }, { 47, 7, 40 },  { 80, 130, 31 } };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int kind = 0; kind < NUM_KINDS; kind++)
            check_shape(&shapes[i], (enum kind)kind);
}
END_TEST

START_TEST(inputs_in_parts_give_the_sums_of_one_pass)
{
    static const struct shape shapes[] = { { 130, 1100, 17 }, { 33, 4200, 3 }, { 16, 8300, 2 } };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        check_shape(&shapes[i], KIND_PLAIN);
}
END_TEST

/* Law 1: any number of rows and any share of panels; rows and outputs with strides of their own. */
static void check_shares(linear_function *linear)
{
    enum { ROWS = 80, INPUTS = 75, OUTPUTS = 90, X_STRIDE = 78, STRIDE = 100 };
    const struct shape shape = { ROWS, INPUTS, OUTPUTS };
    uint16_t values[INPUTS * OUTPUTS];
    struct weight *weight = make_weight(&shape, KIND_PLAIN, values);
    float *x = fixture_guarded(ROWS * X_STRIDE), *bias = fixture_guarded(OUTPUTS);
    float *whole = fixture_guarded(ROWS * STRIDE), *got = fixture_guarded(ROWS * STRIDE);
    struct linear_args args = { .out = whole,
                                .weight = weight,
                                .bias = bias,
                                .x = x,
                                .out_stride = STRIDE,
                                .x_stride = X_STRIDE,
                                .room = room,
                                .rows = ROWS };
    fixture_fill(x, ROWS * X_STRIDE);
    fixture_fill(bias, OUTPUTS);
    linear(&args, 0, weight->num_panels, 0, ROWS);
    args.out = got;
    for (int32_t rows = 1; rows <= ROWS; rows++) {
        const int32_t from = fixture_random_below(ROWS - rows + 1), cut = fixture_random_below(4);
        linear(&args, 0, cut, from, from + rows);
        linear(&args, cut, weight->num_panels, from, from + rows);
        for (int32_t r = from; r < from + rows; r++)
            ck_assert(fixture_equal_bits(got + r * STRIDE, whole + r * STRIDE, OUTPUTS));
    }
    weight_free(weight);
    fixture_guarded_finish(got, ROWS * STRIDE);
    fixture_guarded_finish(whole, ROWS * STRIDE);
    fixture_guarded_finish(bias, OUTPUTS);
    fixture_guarded_finish(x, ROWS * X_STRIDE);
}

START_TEST(a_row_has_its_bits_in_every_number_of_rows)
{
    for (int i = 0; i < NUM_FORMS && form(i) != NULL; i++)
        check_shares(form(i));
}
END_TEST

START_TEST(what_is_infinite_stays_so)
{
    const float x[3] = { 1.0f, INFINITY, 0x1.fffffep127f };
    const uint16_t values[3] = { 0x3f80, 0x4000, 0x3f00 }; /* 1, 2, 0.5 */
    struct device device = { .isa = &isa_avx512_amx };
    struct weight *weight = NULL;
    float out[2];
    ck_assert_int_eq(weight_alloc(&device, DTYPE_BF16, 1, 3, &weight, NULL), 0);
    weight_load(weight, 0, 1, values);
    struct linear_args args = { .out = out,
                                .weight = weight,
                                .x = x,
                                .out_stride = 1,
                                .x_stride = 3,
                                .room = room,
                                .rows = 1 };
    linear_bf16_amx_model(&args, 0, 1, 0, 1);
    ck_assert(out[0] == INFINITY);
    const float finite[3] = { 0.0f, 0.0f, 0x1.fffffep127f };
    args.x = finite;
    linear_bf16_amx_model(&args, 0, 1, 0, 1);
    ck_assert(out[0] == 0x1.fffffep126f); /* all of its 24 bits */
    weight_free(weight);
}
END_TEST

int main(void)
{
    if (!isa_avx512.is_supported())
        return 77;
    room = aligned_alloc(64, LINEAR_TILES_ROOM);
    Suite *suite = suite_create("linear_bf16");
    TCase *tests = tcase_create("linear_bf16");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, tiles_give_the_sums_in_their_order);
    tcase_add_test(tests, inputs_in_parts_give_the_sums_of_one_pass);
    tcase_add_test(tests, a_row_has_its_bits_in_every_number_of_rows);
    tcase_add_test(tests, what_is_infinite_stays_so);
    suite_add_tcase(suite, tests);
    const int failed = room != NULL ? fixture_main(suite) : 1;
    free(room);
    return failed;
}
