/* Blocks made of numbers: the older types against the `gguf` Python package (recorded by
 * tests/golden/gguf_files.py), K-quants by the error they leave. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "formats/block_quantize.h"
#include "tests/unit/formats/seeded.h"
#include "tests/unit/runner.h"

enum { NUM_BLOCKS = 2000, NUM_VALUES = 32 * NUM_BLOCKS };

static float values[NUM_VALUES], back[NUM_VALUES];
static unsigned char blocks[NUM_VALUES * 4];

/* As seeded_values() of the program. */
static void make_values(uint64_t seed)
{
    static int16_t bits[NUM_VALUES];
    seeded_bytes(seed, (unsigned char *)bits, sizeof(bits));
    for (int b = 0; b < NUM_BLOCKS; b++)
        for (int j = 0; j < 32; j++) {
            const float value = ldexpf((float)bits[32 * b + j], b % 29 - 27);
            const float first = ldexpf((float)bits[32 * b], b % 29 - 27);
            values[32 * b + j] = b % 50 == 7             ? 0.0f
                                 : b % 50 == 8           ? first
                                 : b % 50 == 9 && j != 0 ? 0.0f
                                                         : value;
        }
}

static uint64_t hash_bytes(const unsigned char *bytes, size_t num)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < num; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

START_TEST(older_types_have_the_bits_of_the_python_package)
{
    json_t *record, *entry;
    struct error err;
    const char *name;
    size_t num = 0;
    ck_assert_int_eq(
        json_read_file(GOLDEN "quantized.json", 1 << 20, &json_limits_file, &record, &err), 0);
    for (uint32_t type = 0; type < BLOCK_MAX_TYPES; type++) {
        const struct block_info *info = block_info(type);
        entry = info != NULL ? json_object_get(record, info->name) : NULL;
        if (entry == NULL)
            continue;
        num++;
        name = json_string_value(json_object_get(entry, "hash"));
        make_values((uint64_t)json_integer_value(json_object_get(entry, "seed")));
        const size_t each = (size_t)(NUM_VALUES / info->elements);
        block_quantize(type, values, blocks, each);
        ck_assert_msg(hash_bytes(blocks, each * (size_t)info->bytes) == strtoull(name, NULL, 16),
                      "%s: other bytes than recorded", info->name);
    }
    ck_assert_uint_eq(num, json_object_size(record));
    json_decref(record);
}
END_TEST

/* Sums of twelve uniform values: nearly normal. */
static void make_normal(uint64_t seed, float scale)
{
    static uint16_t bits[12];
    for (int i = 0; i < NUM_VALUES; i++) {
        float sum = -6.0f;
        seeded_bytes(seed + (uint64_t)i, (unsigned char *)bits, sizeof(bits));
        for (int k = 0; k < 12; k++)
            sum += (float)bits[k] / 65536.0f;
        values[i] = scale * sum;
    }
}

static double relative_error(enum block_type type)
{
    const size_t num = (size_t)(NUM_VALUES / block_info(type)->elements);
    double off = 0.0, all = 0.0;
    block_quantize(type, values, blocks, num);
    block_widen(type, blocks, back, num);
    for (size_t i = 0; i < num * (size_t)block_info(type)->elements; i++) {
        off += pow((double)values[i] - (double)back[i], 2.0);
        all += pow((double)values[i], 2.0);
    }
    return sqrt(off / all);
}

/* What scales from the range alone leave: of 16 or 32 values to `most` + 1 steps. */
static double naive_error(int size, int most, bool has_minimum)
{
    double off = 0.0, all = 0.0;
    for (int at = 0; at < NUM_VALUES; at += size) {
        float low = 0.0f, high = 0.0f;
        for (int j = at; j < at + size; j++) {
            low = fminf(low, values[j]);
            high = fmaxf(high, values[j]);
        }
        const double largest = fmax(-(double)low, (double)high);
        const double scale =
            has_minimum ? ((double)high - (double)low) / most : largest / ((most + 1) / 2.0 - 1.0);
        for (int j = at; j < at + size; j++) {
            const double zero = has_minimum ? (double)low : 0.0;
            const double q = scale > 0.0 ? nearbyint(((double)values[j] - zero) / scale) : 0.0;
            off += pow(q * scale + zero - (double)values[j], 2.0);
            all += pow((double)values[j], 2.0);
        }
    }
    return sqrt(off / all);
}

static const struct {
    enum block_type type;
    int size, most; /* of a sub-block */
    bool has_minimum;
    double error; /* measured, and a hundredth more */
} searched[] = {
    { BLOCK_Q2_K, 16, 3, true, 0.293 },    { BLOCK_Q3_K, 16, 7, false, 0.146 },
    { BLOCK_Q4_K, 32, 15, true, 0.0729 },  { BLOCK_Q5_K, 32, 31, true, 0.0365 },
    { BLOCK_Q6_K, 16, 63, false, 0.0176 },
};

/* Even with scales that are not rounded the naive way leaves more. */
START_TEST(the_search_leaves_less_than_scales_of_the_range)
{
    for (int scale = -10; scale <= 10; scale += 5) {
        make_normal(77, ldexpf(1.0f, scale));
        const double error = relative_error(searched[_i].type);
        const double naive =
            naive_error(searched[_i].size, searched[_i].most, searched[_i].has_minimum);
        const char *name = block_info(searched[_i].type)->name;
        ck_assert_msg(error < naive, "%s: %g, naive %g", name, error, naive);
        ck_assert_msg(error < searched[_i].error, "%s: %g", name, error);
    }
    make_normal(78, 0x1p-20f); /* scales are lost in 16 bits: nothing is worse than zeros */
    ck_assert_double_le(relative_error(searched[_i].type), 1.0);
}
END_TEST

static const enum block_type types[] = {
    BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_Q4_1, BLOCK_Q5_0, BLOCK_Q5_1,
    BLOCK_Q2_K, BLOCK_Q3_K, BLOCK_Q4_K, BLOCK_Q5_K, BLOCK_Q6_K
};

/* Zeros, one value, one that is far from the others, equal ones, the largest there may be, what is
 * lost in 16 bits: nothing may come back that is not finite or far from where it was. */
START_TEST(odd_blocks_come_back_finite_and_near)
{
    static const float fills[] = { 0.0f,           1.0f,   -1.0f,  BLOCK_LARGEST,
                                   -BLOCK_LARGEST, 1e-30f, 1e-44f, -3e-8f };
    enum { NUM_FILLS = sizeof(fills) / sizeof(fills[0]) };
    for (int f = 0; f < NUM_FILLS * NUM_FILLS; f++) {
        float x[256], y[256], largest = 0.0f;
        for (int j = 0; j < 256; j++) {
            x[j] = j % 37 == f % 31 ? fills[f / NUM_FILLS] : fills[f % NUM_FILLS];
            largest = fmaxf(largest, fabsf(x[j]));
        }
        const size_t num = (size_t)(256 / block_info(types[_i])->elements);
        block_quantize(types[_i], x, blocks, num);
        block_widen(types[_i], blocks, y, num);
        for (int j = 0; j < 256; j++) {
            ck_assert_msg(isfinite(y[j]), "%s of %g", block_info(types[_i])->name, (double)x[j]);
            ck_assert_msg(fabsf(y[j] - x[j]) <= 0.5f * largest + 1e-7f, "%s: %g is %g",
                          block_info(types[_i])->name, (double)x[j], (double)y[j]);
        }
    }
}
END_TEST

START_TEST(types_without_a_maker_are_told)
{
    ck_assert(block_can_quantize(BLOCK_Q4_K) && block_can_quantize(BLOCK_BF16));
    ck_assert(!block_can_quantize(9) && !block_can_quantize(24) && !block_can_quantize(99));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block_quantize");
    TCase *tests = tcase_create("block_quantize");
    tcase_add_test(tests, older_types_have_the_bits_of_the_python_package);
    tcase_add_loop_test(tests, the_search_leaves_less_than_scales_of_the_range, 0, 5);
    tcase_add_loop_test(tests, odd_blocks_come_back_finite_and_near, 0, 10);
    tcase_add_test(tests, types_without_a_maker_are_told);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
