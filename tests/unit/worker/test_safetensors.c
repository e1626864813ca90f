#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/model/safetensors.h"

static struct arena arena;
static struct safetensors_tensor *tensors;
static int32_t num_tensors;
static struct error err;

static void setup(void)
{
    arena_init(&arena, 0);
    tensors = NULL;
    num_tensors = -1;
    err = (struct error){ 0 };
}

static void teardown(void)
{
    arena_finish(&arena);
}

static int parse(const char *header, size_t len, uint64_t data_bytes)
{
    return safetensors_parse(header, len, data_bytes, &arena, &tensors, &num_tensors, &err);
}

#define TENSOR(name, dtype, shape, begin, end)                                                     \
    "\"" name "\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": [" begin     \
    ", " end "]}"

START_TEST(tensors_are_listed_in_the_order_of_their_bytes)
{
    static const char header[] =
        "{" TENSOR("b", "BF16", "[2, 3]", "4",
                   "16") ", "
                         "\"__metadata__\": {\"format\": \"pt\"}, " TENSOR(
                             "empty", "F32", "[0, 7]", "4",
                             "4") ", " TENSOR("a", "F32", "[]", "0", "4") ", " TENSOR("odd", "U8",
                                                                                      "[3]", "16",
                                                                                      "19") "}   ";
    ck_assert_int_eq(parse(header, strlen(header), 19), 0);

    static const char *const names[] = { "a", "empty", "b", "odd" };
    ck_assert_int_eq(num_tensors, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(tensors[i].name, names[i]);
    ck_assert_int_eq(tensors[0].rank, 0);
    ck_assert_int_eq(tensors[2].rank, 2);
    ck_assert(tensors[2].shape[0] == 2 && tensors[2].shape[1] == 3);
    ck_assert(tensors[2].begin == 4 && tensors[2].end == 16);
    ck_assert(tensors[2].dtype->is_weight && tensors[2].dtype->dtype == DTYPE_BF16);
    ck_assert(!tensors[3].dtype->is_weight);
}
END_TEST

START_TEST(a_file_without_tensors_is_empty)
{
    ck_assert_int_eq(parse("{}", 2, 0), 0);
    ck_assert_int_eq(num_tensors, 0);
    ck_assert_int_eq(parse("{}", 2, 1), -EINVAL);
}
END_TEST

START_TEST(the_length_of_the_header_is_checked)
{
    static const struct {
        unsigned char first[8];
        uint64_t file_bytes;
        int result;
    } cases[] = {
        { { 0 }, 0, -EINVAL },
        { { 0 }, 7, -EINVAL },
        { { 0 }, 8, 0 },
        { { 2 }, 10, 0 },
        { { 2 }, 9, -EINVAL },
        { { 0, 0xE1, 0xF5, 0x05 }, UINT64_MAX, 0 }, /* 100,000,000 */
        { { 1, 0xE1, 0xF5, 0x05 }, UINT64_MAX, -EINVAL },
        { { 0, 0, 0, 0, 0, 0, 0, 0x80 }, UINT64_MAX, -EINVAL },
        { { 255, 255, 255, 255, 255, 255, 255, 255 }, UINT64_MAX, -EINVAL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t bytes = 0;
        ck_assert_int_eq(
            safetensors_header_bytes(cases[i].first, cases[i].file_bytes, &bytes, &err),
            cases[i].result);
    }
}
END_TEST

#define ONE(entry) "{\"a\": " entry "}"

/* Each against 16 bytes of data. */
static const struct {
    const char *header;
    int result;
    const char *message; /* part of it */
} refused[] = {
    { "", -EINVAL, "does not begin with {" },
    { " {}", -EINVAL, "does not begin with {" },
    { "[]", -EINVAL, "does not begin with {" },
    { "{", -EINVAL, "cannot be read" },
    { "{} x", -EINVAL, "cannot be read" },
    { "{\"a\xff\": 1}", -EINVAL, "UTF-8" },
    { "{\"\\ud800\": 1}", -EINVAL, "cannot be read" },
    { "{" TENSOR("a", "F32", "[2]", "0", "8") ", " TENSOR("a", "F32", "[2]", "8", "16") "}",
      -EINVAL, "duplicate" },
    { ONE("{\"dtype\": \"F32\", \"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16]}"),
      -EINVAL, "duplicate" },
    { ONE("5"), -EINVAL, "wanted exactly" },
    { ONE("{\"dtype\": \"F32\", \"shape\": [4]}"), -EINVAL, "wanted exactly" },
    { ONE("{\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16], \"x\": 1}"), -EINVAL,
      "wanted exactly" },
    { ONE("{\"dtype\": \"F32\", \"shape\": [4], \"offsets\": [0, 16]}"), -EINVAL, "data_offsets" },
    { "{" TENSOR("a", "Q4", "[4]", "0", "16") "}", -ENOTSUP, "dtype \"Q4\" is not known" },
    { ONE("{\"dtype\": 4, \"shape\": [4], \"data_offsets\": [0, 16]}"), -EINVAL, "dtype is not" },
    { "{" TENSOR("a", "F32", "4", "0", "16") "}", -EINVAL, "shape is no list" },
    { "{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,4]", "0", "16") "}", -EINVAL, "shape is no list" },
    { "{" TENSOR("a", "F32", "[-4]", "0", "16") "}", -EINVAL, "shape[0]" },
    { "{" TENSOR("a", "F32", "[4.0]", "0", "16") "}", -EINVAL, "shape[0]" },
    { "{" TENSOR("a", "F32", "[4e0]", "0", "16") "}", -EINVAL, "shape[0]" },
    { "{" TENSOR("a", "F32", "[4]", "0.0", "16") "}", -EINVAL, "data_offsets is no pair" },
    { "{" TENSOR("a", "F32", "[4]", "-1", "15") "}", -EINVAL, "data_offsets is no pair" },
    { "{" TENSOR("a", "F32", "[4]", "0", "9223372036854775808") "}", -EINVAL, "cannot be read" },
    { "{" TENSOR("a", "F32", "[4]", "0", "9223372036854775807") "}", -EINVAL, "wanted an order" },
    { "{" TENSOR("a", "F32", "[4]", "16", "0") "}", -EINVAL, "wanted an order" },
    { "{" TENSOR("a", "F32", "[5]", "0", "20") "}", -EINVAL, "wanted an order" },
    { "{" TENSOR("a", "F32", "[3]", "0", "16") "}", -EINVAL, "need 12" },
    { "{" TENSOR("a", "F32", "[4611686018427387904, 4]", "0", "16") "}", -EINVAL, "whole number" },
    { "{" TENSOR("a", "U8", "[4294967296, 4294967296]", "0", "16") "}", -EINVAL, "whole number" },
    { "{" TENSOR("a", "F4", "[3]", "0", "1") "}", -EINVAL, "whole number" },
    { "{" TENSOR("a", "F32", "[2]", "8", "16") "}", -EINVAL, "no gap" },
    { "{" TENSOR("a", "F32", "[2]", "0", "8") "}", -EINVAL, "end at byte 8 of 16" },
    { "{" TENSOR("a", "F32", "[3]", "0", "12") ", " TENSOR("b", "F32", "[2]", "8", "16") "}",
      -EINVAL, "no overlap" },
    { "{" TENSOR("a", "F32", "[4]", "0", "16") ", " TENSOR("b", "F32", "[0]", "8", "8") "}",
      -EINVAL, "no overlap" },
    { "{\"__metadata__\": [], " TENSOR("a", "F32", "[4]", "0", "16") "}", -EINVAL, "__metadata__" },
    { "{\"__metadata__\": {\"k\": 1}, " TENSOR("a", "F32", "[4]", "0", "16") "}", -EINVAL,
      "__metadata__" },
    { "{\"a\": [[[[[[[[[]]]]]]]]]}", -EINVAL, "nested deeper" },
};

START_TEST(a_header_that_breaks_a_rule_is_refused)
{
    const char *header = refused[_i].header;
    ck_assert_int_eq(parse(header, strlen(header), 16), refused[_i].result);
    ck_assert_msg(strstr(err.message, refused[_i].message) != NULL, "%s: %s", header, err.message);
    ck_assert_int_eq(num_tensors, -1);
}
END_TEST

/* A file in a folder of its own. */
static char folder[64];
static FILE *create(const char *name)
{
    char path[128];
    snprintf(folder, sizeof(folder), "/tmp/test_safetensors_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    return file;
}

static void remove_folder(const char *name)
{
    unlink(name);
    rmdir(folder);
}

START_TEST(values_are_read_within_the_tensor_only)
{
    static const char header[] =
        "{" TENSOR("a", "U8", "[3]", "0", "3") ", " TENSOR("b", "U8", "[5]", "3", "8") "}";
    const uint64_t len = strlen(header);
    struct safetensors opened;
    char data[5];
    FILE *out = create("x.safetensors");
    fwrite(&len, sizeof(len), 1, out); /* little endian here */
    fprintf(out, "%s%s", header, "abcdefgh");
    fclose(out);

    ck_assert_int_eq(safetensors_open(AT_FDCWD, "x.safetensors", &opened, &err), 0);
    ck_assert_int_eq(safetensors_read(&opened, &opened.tensors[1], 1, data, 4), 0);
    ck_assert_mem_eq(data, "efgh", 4);
    ck_assert_int_eq(safetensors_read(&opened, &opened.tensors[1], 1, data, 5), -EINVAL);
    ck_assert_int_eq(safetensors_read(&opened, &opened.tensors[1], UINT64_MAX, data, 2), -EINVAL);
    ck_assert_int_eq(truncate("x.safetensors", (off_t)(8 + len + 4)), 0);
    ck_assert_int_eq(safetensors_read(&opened, &opened.tensors[1], 0, data, 5), -EIO);
    safetensors_close(&opened);
    remove_folder("x.safetensors");
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
    struct safetensors opened;
    fclose(create("short"));

    ck_assert_int_eq(safetensors_open(AT_FDCWD, "short", &opened, &err), -EINVAL);
    ck_assert_str_eq(err.message, "short: file of 0 bytes, wanted at least 8");
    ck_assert_int_eq(safetensors_open(AT_FDCWD, "absent", &opened, &err), -ENOENT);
    ck_assert_int_eq(safetensors_open(AT_FDCWD, ".", &opened, &err), -EINVAL);
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(safetensors_open(AT_FDCWD, "pipe", &opened, &err), -EINVAL);
    unlink("pipe");
    remove_folder("short");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tc = tcase_create("safetensors");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, tensors_are_listed_in_the_order_of_their_bytes);
    tcase_add_test(tc, a_file_without_tensors_is_empty);
    tcase_add_test(tc, the_length_of_the_header_is_checked);
    tcase_add_loop_test(tc, a_header_that_breaks_a_rule_is_refused, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tc, values_are_read_within_the_tensor_only);
    tcase_add_test(tc, what_is_no_file_is_refused);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
