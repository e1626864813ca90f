/* Files that the `gguf` Python package wrote (tests/golden/gguf_files.py). */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "formats/gguf_value.h"
#include "tests/unit/formats/seeded.h"
#include "tests/unit/runner.h"

static struct gguf gguf;
static struct gguf_files files;
static struct error err;

static void setup(void)
{
    gguf = (struct gguf){ .fd = -1 };
    files = (struct gguf_files){ 0 };
}

static void teardown(void)
{
    gguf_close(&gguf);
    gguf_files_close(&files);
}

static int64_t int_of(const char *key)
{
    int64_t value = 0;
    ck_assert_int_eq(gguf_int(&gguf, key, INT64_MIN, INT64_MAX, &value, &err), 1);
    return value;
}

START_TEST(integers_of_every_width_are_read)
{
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    ck_assert_int_eq(int_of("a.u8"), 200);
    ck_assert_int_eq(int_of("a.i8"), -100);
    ck_assert_int_eq(int_of("a.u16"), 60000);
    ck_assert_int_eq(int_of("a.i16"), -30000);
    ck_assert_int_eq(int_of("a.u32"), 4000000000);
    ck_assert_int_eq(int_of("a.i32"), -2000000000);
    ck_assert_int_eq(int_of("a.u64"), INT64_C(1) << 62);
    ck_assert_int_eq(int_of("a.i64"), -(INT64_C(1) << 62));
}
END_TEST

START_TEST(reals_bools_and_texts_are_read)
{
    double real = 0;
    bool yes = false, no = true;
    const char *text = "";
    size_t len = 0;
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    ck_assert_int_eq(gguf_real(&gguf, "a.f32", &real, &err), 1);
    ck_assert_double_eq(real, 0.15625);
    ck_assert_int_eq(gguf_real(&gguf, "a.f64", &real, &err), 1);
    ck_assert_double_eq(real, 1e300);
    ck_assert_int_eq(gguf_bool(&gguf, "a.true", &yes, &err), 1);
    ck_assert_int_eq(gguf_bool(&gguf, "a.false", &no, &err), 1);
    ck_assert(yes && !no);
    ck_assert_int_eq(gguf_text(&gguf, "a.text", &text, &len, &err), 1);
    ck_assert_uint_eq(len, strlen("Grüße, 世界"));
    ck_assert_mem_eq(text, "Grüße, 世界", len);
    ck_assert_int_eq(gguf_int(&gguf, "a.absent", 0, 1, &(int64_t){ 0 }, &err), 0);
}
END_TEST

START_TEST(arrays_are_read)
{
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    const struct gguf_value *ints = gguf_find(&gguf, "a.ints");
    const struct gguf_value *reals = gguf_find(&gguf, "a.reals");
    const struct gguf_value *texts = gguf_find(&gguf, "a.texts");
    int64_t number = 0;
    double real = 0;
    ck_assert(ints->is_array && ints->num == 3);
    ck_assert(gguf_value_int(ints, 2, &number) && number == 300000);
    ck_assert(gguf_value_int(ints, 1, &number) && number == -2);
    ck_assert(!gguf_value_int(ints, 3, &number));
    ck_assert(gguf_value_real(reals, 1, &real) && real == -0.25);

    const char *const wanted[] = { "", "one", "zwei" };
    const unsigned char *at = texts->at;
    const char *text;
    size_t len;
    for (size_t i = 0; i < 3; i++) {
        ck_assert(gguf_value_next(texts, &at, &text, &len));
        ck_assert_uint_eq(len, strlen(wanted[i]));
        ck_assert_mem_eq(text, wanted[i], len);
    }
    ck_assert(!gguf_value_next(texts, &at, &text, &len));
}
END_TEST

START_TEST(a_value_of_another_type_is_refused)
{
    int64_t number;
    bool flag;
    double real;
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    ck_assert_int_eq(gguf_int(&gguf, "a.text", 0, 1, &number, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "a.text is of value type 8"));
    ck_assert_int_eq(gguf_int(&gguf, "a.ints", 0, 1, &number, &err), -EINVAL);
    ck_assert_int_eq(gguf_int(&gguf, "a.u8", 0, 100, &number, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "a.u8 is 200, wanted 0 to 100"));
    ck_assert_int_eq(gguf_bool(&gguf, "a.u8", &flag, &err), -EINVAL);
    ck_assert_int_eq(gguf_real(&gguf, "a.true", &real, &err), -EINVAL);
}
END_TEST

START_TEST(tensors_of_every_block_type_lie_where_they_say)
{
    json_t *record, *entry;
    const char *name;
    static unsigned char wanted[8192], got[8192];
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    ck_assert_int_eq(json_read_file(GOLDEN "all.json", 1 << 20, &json_limits_file, &record, &err),
                     0);
    const json_t *tensors = json_object_get(record, "tensors");
    ck_assert_uint_eq(json_object_size(tensors), (size_t)gguf.num_tensors);
    json_object_foreach((json_t *)tensors, name, entry)
    {
        const struct gguf_tensor *tensor = NULL;
        for (int32_t i = 0; i < gguf.num_tensors; i++)
            if (strcmp(gguf.tensors[i].name, name) == 0)
                tensor = &gguf.tensors[i];
        ck_assert_msg(tensor != NULL, "%s", name);
        ck_assert_uint_eq(tensor->bytes,
                          (uint64_t)json_integer_value(json_object_get(entry, "bytes")));
        ck_assert_int_eq(tensor->num_dims, 2);
        ck_assert_int_eq(tensor->dims[0], 512);
        ck_assert_int_eq(tensor->dims[1], 3);
        ck_assert(strstr(name, tensor->info->name) != NULL);
        ck_assert_uint_le(tensor->bytes, sizeof(got));
        seeded_bytes((uint64_t)json_integer_value(json_object_get(entry, "seed")), wanted,
                     tensor->bytes);
        ck_assert_int_eq(gguf_read(&gguf, tensor, 0, got, tensor->bytes), 0);
        ck_assert_mem_eq(got, wanted, tensor->bytes);
        ck_assert_int_eq(gguf_read(&gguf, tensor, 1, got, tensor->bytes), -EINVAL);
    }
    json_decref(record);
}
END_TEST

START_TEST(a_split_model_is_opened_by_any_of_its_names)
{
    for (int part = 1; part <= 3; part++) {
        char path[256];
        snprintf(path, sizeof(path), GOLDEN "split-%05d-of-00003.gguf", part);
        ck_assert_int_eq(gguf_files_open(path, &files, &err), 0);
        ck_assert_int_eq(files.num, 3);
        int64_t number = 0;
        ck_assert_int_eq(gguf_int(&files.files[0], "a.number", 0, 10, &number, &err), 1);
        ck_assert_int_eq(number, 7);
        for (int i = 0; i < 5; i++) {
            const struct gguf *file = NULL;
            char name[16];
            float values[6];
            snprintf(name, sizeof(name), "t.%d", i);
            const struct gguf_tensor *tensor = gguf_files_find(&files, name, &file);
            ck_assert_ptr_nonnull(tensor);
            ck_assert_int_eq(gguf_read(file, tensor, 0, values, sizeof(values)), 0);
            ck_assert_float_eq(values[5], (float)i);
        }
        gguf_files_close(&files);
    }
}
END_TEST

START_TEST(a_model_that_is_not_split_is_one_file)
{
    ck_assert_int_eq(gguf_files_open(GOLDEN "all.gguf", &files, &err), 0);
    ck_assert_int_eq(files.num, 1);
}
END_TEST

START_TEST(a_part_that_is_missing_or_renamed_is_told)
{
    char folder[] = "/tmp/test_gguf_XXXXXX", path[128];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/x-00001-of-00002.gguf", folder);
    ck_assert_int_eq(symlink(GOLDEN "split-00001-of-00003.gguf", path), 0);
    ck_assert_int_eq(gguf_files_open(path, &files, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "split.no is 0 of 3, its name says 0 of 2"));
    unlink(path);
    snprintf(path, sizeof(path), "%s/x-00001-of-00003.gguf", folder);
    ck_assert_int_eq(symlink(GOLDEN "split-00001-of-00003.gguf", path), 0);
    ck_assert_int_eq(gguf_files_open(path, &files, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, "x-00002-of-00003.gguf"));
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(a_file_is_known_by_its_first_bytes)
{
    ck_assert(gguf_is_file(GOLDEN "all.gguf"));
    ck_assert(!gguf_is_file(GOLDEN "all.json"));
    ck_assert(!gguf_is_file(GOLDEN));
    ck_assert(!gguf_is_file(GOLDEN "absent"));
}
END_TEST

START_TEST(the_hash_is_that_of_the_file)
{
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    const uint64_t hash = gguf.hash;
    gguf_close(&gguf);
    ck_assert_int_eq(gguf_open(GOLDEN "all.gguf", &gguf, &err), 0);
    ck_assert_uint_eq(gguf.hash, hash);
    gguf_close(&gguf);
    ck_assert_int_eq(gguf_open(GOLDEN "split-00001-of-00003.gguf", &gguf, &err), 0);
    ck_assert_uint_ne(gguf.hash, hash);
}
END_TEST

RUN_SUITE_AROUND("gguf", setup, teardown, integers_of_every_width_are_read,
                 reals_bools_and_texts_are_read, arrays_are_read,
                 a_value_of_another_type_is_refused, tensors_of_every_block_type_lie_where_they_say,
                 a_split_model_is_opened_by_any_of_its_names, a_model_that_is_not_split_is_one_file,
                 a_part_that_is_missing_or_renamed_is_told, a_file_is_known_by_its_first_bytes,
                 the_hash_is_that_of_the_file)
