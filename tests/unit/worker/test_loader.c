#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/model/loader.h"

/* The device's side: what was loaded, row by row. */
struct weight {
    unsigned char *bytes;
    size_t row_bytes;
    unsigned char *num_loads; /* per row */
};

static void weight_load(struct weight *weight, int32_t first_row, int32_t num_rows,
                        const void *from)
{
    memcpy(weight->bytes + (size_t)first_row * weight->row_bytes, from,
           (size_t)num_rows * weight->row_bytes);
    for (int32_t i = 0; i < num_rows; i++)
        weight->num_loads[first_row + i]++;
}

static const struct backend backend = { .weight_load = weight_load };

/* Two tensors under each other, of 1333 and 1777 rows: neither ends where a panel does, and
 * both are longer than a block. */
enum { COLS = 1000, ROWS_A = 1333, ROWS_B = 1777, ROWS = ROWS_A + ROWS_B, NUM_HALVES = 65536 };

static char folder[64], path[96];
static struct checkpoint checkpoint;
static struct error err;
static uint16_t *halves; /* of both tensors, then every value of 16 bits */

static uint16_t half_at(size_t i)
{
    return (uint16_t)(i * 2654435761U >> 13);
}

static void create(const char *dtype_a, const char *dtype_b)
{
    char header[512];
    const size_t a = (size_t)ROWS_A * COLS, b = (size_t)ROWS_B * COLS;
    const int len =
        snprintf(header, sizeof(header),
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[0,%zu]},"
                 "\"b\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]},"
                 "\"f16\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[%zu,%zu]},"
                 "\"odd\":{\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[%zu,%zu]}}",
                 dtype_a, ROWS_A, COLS, 2 * a, dtype_b, ROWS_B, COLS, 2 * a, 2 * (a + b),
                 NUM_HALVES, 2 * (a + b), 2 * (a + b) + 2 * NUM_HALVES, NUM_HALVES,
                 2 * (a + b) + 2 * NUM_HALVES, 2 * (a + b) + 4 * NUM_HALVES);
    const uint64_t bytes = (uint64_t)len;
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    fwrite(&bytes, sizeof(bytes), 1, file);
    fwrite(header, 1, bytes, file);
    fwrite(halves, 2, a + b + 2 * (size_t)NUM_HALVES, file);
    fclose(file);
    ck_assert_msg(checkpoint_open(folder, &checkpoint, &err) == 0, "%s", err.message);
}

static void setup(void)
{
    const size_t num = (size_t)ROWS * COLS;
    snprintf(folder, sizeof(folder), "/tmp/test_loader_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    halves = malloc((num + 2 * (size_t)NUM_HALVES) * 2);
    ck_assert_ptr_nonnull(halves);
    for (size_t i = 0; i < num; i++)
        halves[i] = half_at(i);
    for (size_t i = 0; i < 2 * (size_t)NUM_HALVES; i++)
        halves[num + i] = (uint16_t)i;
    memset(&checkpoint, 0, sizeof(checkpoint));
}

static void teardown(void)
{
    checkpoint_close(&checkpoint);
    free(halves);
    unlink(path);
    rmdir(folder);
}

/* Exact, from the definition of IEEE 754 binary16. */
static float half_value(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 31)
        return fraction != 0 ? NAN : sign * INFINITY;
    return sign * (exponent == 0 ? ldexpf((float)fraction, -24)
                                 : ldexpf((float)(fraction + 1024), exponent - 25));
}

static float bfloat_value(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static const enum read_io ways[] = { READ_IO_BUFFERED, READ_IO_DIRECT, READ_IO_AUTO };

/* Where the file system has no direct reads, buffered ones are tested again. */
static int load(enum dtype dtype, int32_t num_threads, enum read_io io, struct weight *weight,
                _Atomic uint64_t *progress)
{
    const struct loader_options options = { .num_threads = num_threads,
                                            .io = io,
                                            .progress_bytes = progress };
    const struct loader_part parts[] = { { checkpoint_find(&checkpoint, "a"), 0, ROWS_A },
                                         { checkpoint_find(&checkpoint, "b"), ROWS_A, ROWS_B } };
    const struct loader_matrix matrix = {
        .weight = weight, .dtype = dtype, .rows = ROWS, .cols = COLS, .parts = parts, .num_parts = 2
    };
    weight->row_bytes = COLS * dtype_bytes(dtype);
    weight->bytes = calloc(ROWS, weight->row_bytes);
    weight->num_loads = calloc(ROWS, 1);
    return loader_run(&backend, NULL, &matrix, 1, &options, &err);
}

static void check_each_row_once(const struct weight *weight)
{
    for (int32_t i = 0; i < ROWS; i++)
        ck_assert_int_eq(weight->num_loads[i], 1);
}

static void free_weight(struct weight *weight)
{
    free(weight->bytes);
    free(weight->num_loads);
}

START_TEST(equal_dtypes_are_loaded_bit_for_bit)
{
    struct weight weight;
    _Atomic uint64_t progress = 5;
    create("BF16", "BF16");

    ck_assert_int_eq(load(DTYPE_BF16, 1 + 3 * (_i % 2), ways[_i / 2], &weight, &progress), 0);
    check_each_row_once(&weight);
    ck_assert_mem_eq(weight.bytes, halves, (size_t)ROWS * COLS * 2);
    ck_assert_uint_eq(atomic_load(&progress), 5 + (uint64_t)ROWS * COLS * 2);
    free_weight(&weight);
}
END_TEST

/* As ranks cut them: a range of each row, every way, and through io_uring where the file has direct
 * reads. */
START_TEST(cut_columns_are_those_of_the_file)
{
    enum { FIRST = COLS / 4 + 1, NUM = COLS / 2 };
    bool used_direct = false;
    create("BF16", "BF16");
    const struct loader_options options = { .num_threads = 2,
                                            .io = ways[_i],
                                            .ret_direct = &used_direct };
    const struct loader_part part = { .tensor = checkpoint_find(&checkpoint, "a"),
                                      .num_rows = ROWS_A,
                                      .tensor_col = FIRST,
                                      .tensor_cols = COLS };
    struct weight weight = { .row_bytes = NUM * 2 };
    weight.bytes = calloc(ROWS_A, weight.row_bytes);
    weight.num_loads = calloc(ROWS_A, 1);
    const struct loader_matrix matrix = { .weight = &weight,
                                          .dtype = DTYPE_BF16,
                                          .rows = ROWS_A,
                                          .cols = NUM,
                                          .parts = &part,
                                          .num_parts = 1 };
    ck_assert_int_eq(loader_run(&backend, NULL, &matrix, 1, &options, &err), 0);
    for (int32_t i = 0; i < ROWS_A; i++)
        ck_assert_mem_eq(weight.bytes + (size_t)i * weight.row_bytes,
                         (const char *)halves + ((size_t)i * COLS + FIRST) * 2, NUM * 2);
    const int direct = read_ahead_direct_fd(checkpoint.files[0].fd);
    struct read_ahead *ahead = NULL;
    const bool has_ring = read_ahead_open(4096, NULL, &ahead) == 0;
    ck_assert(used_direct == (ways[_i] == READ_IO_DIRECT && direct >= 0 && has_ring) ||
              ways[_i] == READ_IO_AUTO);
    read_ahead_close(ahead);
    if (direct >= 0)
        close(direct);
    free_weight(&weight);
}
END_TEST

START_TEST(different_dtypes_become_exact_floats)
{
    struct weight weight;
    create("F16", "BF16");

    ck_assert_int_eq(load(DTYPE_F32, 2, READ_IO_DIRECT, &weight, NULL), 0);
    check_each_row_once(&weight);
    const float *values = (const float *)(const void *)weight.bytes;
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        const float value =
            i < (size_t)ROWS_A * COLS ? half_value(halves[i]) : bfloat_value(halves[i]);
        ck_assert(isnan(value) ? isnan(values[i]) : values[i] == value);
    }
    free_weight(&weight);
}
END_TEST

START_TEST(every_half_is_widened_exactly)
{
    static float f16[NUM_HALVES], bf16[8 + NUM_HALVES];
    create("F16", "F16");
    const struct loader_part part_f16 = { checkpoint_find(&checkpoint, "f16"), 0, NUM_HALVES };
    const struct loader_part part_odd = { checkpoint_find(&checkpoint, "odd"), 8, NUM_HALVES };

    ck_assert_int_eq(loader_read_vector(&part_f16, f16, &err), 0);
    ck_assert_int_eq(loader_read_vector(&part_odd, bf16, &err), 0);
    for (size_t i = 0; i < NUM_HALVES; i++) {
        const float half = half_value((uint16_t)i), bfloat = bfloat_value((uint16_t)i);
        ck_assert(isnan(half) ? isnan(f16[i]) : f16[i] == half && signbit(half) == signbit(f16[i]));
        ck_assert(isnan(bfloat) ? isnan(bf16[8 + i]) : bf16[8 + i] == bfloat);
    }
}
END_TEST

START_TEST(a_file_that_shrinks_while_it_is_read_is_named)
{
    struct weight weight;
    create("BF16", "BF16");
    ck_assert_int_eq(truncate(path, (off_t)ROWS_A * COLS * 2 + 100000), 0);

    ck_assert_int_eq(load(DTYPE_BF16, 3, ways[_i], &weight, NULL), -EIO);
    ck_assert_str_eq(err.message, "tensor b: the file ends before it, or cannot be read");
    free_weight(&weight);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tc = tcase_create("loader");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, equal_dtypes_are_loaded_bit_for_bit, 0, 6);
    tcase_add_loop_test(tc, cut_columns_are_those_of_the_file, 0, 3);
    tcase_add_test(tc, different_dtypes_become_exact_floats);
    tcase_add_test(tc, every_half_is_widened_exactly);
    tcase_add_loop_test(tc, a_file_that_shrinks_while_it_is_read_is_named, 0, 2);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
