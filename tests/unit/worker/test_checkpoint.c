#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/model/checkpoint.h"

/* A folder under /tmp with small files of one-byte tensors; removed at the end. */
static char folder[64];
static char files[8][64];
static int num_files;
static struct checkpoint checkpoint;
static struct error err;

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/test_checkpoint_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    num_files = 0;
    memset(&checkpoint, 0, sizeof(checkpoint));
}

static void teardown(void)
{
    checkpoint_close(&checkpoint);
    for (int i = 0; i < num_files; i++)
        unlink(files[i]);
    rmdir(folder);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
    FILE *file = fopen(name, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    fclose(file);
    snprintf(files[num_files++], sizeof(files[0]), "%s", name);
}

/* One tensor per letter, holding that letter. */
static void write_tensors(const char *name, const char *letters)
{
    char text[1024];
    size_t len = 8;
    for (size_t i = 0; letters[i] != '\0'; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "%c\"%c\": {\"dtype\": \"U8\", \"shape\": [1], "
                                "\"data_offsets\": [%zu, %zu]}",
                                i == 0 ? '{' : ',', letters[i], i, i + 1);
    text[len++] = '}';
    const uint64_t header = len - 8;
    memcpy(text, &header, 8);
    memcpy(text + len, letters, strlen(letters));
    write_file(name, text, len + strlen(letters));
}

static void write_index(const char *text)
{
    write_file("model.safetensors.index.json", text, strlen(text));
}

static char read_letter(const char *name)
{
    char letter = 0;
    const struct checkpoint_tensor *tensor = checkpoint_find(&checkpoint, name);
    if (tensor != NULL)
        ck_assert_int_eq(safetensors_read(tensor->file, tensor->info, 0, &letter, 1), 0);
    return letter;
}

START_TEST(a_single_file_is_opened)
{
    write_tensors("model.safetensors", "xyz");
    write_tensors("other.safetensors", "x");

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), 0);
    ck_assert_int_eq(checkpoint.num_tensors, 3);
    ck_assert_int_eq(read_letter("y"), 'y');
    ck_assert_ptr_null(checkpoint_find(&checkpoint, "w"));
}
END_TEST

START_TEST(the_map_decides_where_a_tensor_lies)
{
    write_tensors("a.safetensors", "xy");
    write_tensors("b.safetensors", "yz");
    write_index("{\"metadata\": {\"total_size\": 99}, \"extra\": 1, \"weight_map\": "
                "{\"x\": \"a.safetensors\", \"y\": \"b.safetensors\"}}");

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), 0);
    ck_assert_int_eq(checkpoint.num_tensors, 2); /* z is not in the map */
    ck_assert_str_eq(checkpoint_file_name(&checkpoint, checkpoint_find(&checkpoint, "y")),
                     "b.safetensors");
    ck_assert_int_eq(read_letter("x"), 'x');
}
END_TEST

static const struct {
    const char *index;
    int result;
    const char *message;
} refused[] = {
    { "{\"weight_map\": {\"x\": \"../a.safetensors\"}}", -EINVAL, "wanted a plain name" },
    { "{\"weight_map\": {\"x\": \"/tmp/a.safetensors\"}}", -EINVAL, "wanted a plain name" },
    { "{\"weight_map\": {\"x\": \".a.safetensors\"}}", -EINVAL, "wanted a plain name" },
    { "{\"weight_map\": {\"x\": \"a.bin\"}}", -EINVAL, "wanted a plain name" },
    { "{\"weight_map\": {\"x\": \".safetensors\"}}", -EINVAL, "wanted a plain name" },
    { "{\"weight_map\": {\"x\": 5}}", -EINVAL, "(no string)" },
    { "{\"weight_map\": []}", -EINVAL, "weight_map is not an object" },
    { "[]", -EINVAL, "weight_map is not an object" },
    { "{", -EINVAL, "model.safetensors.index.json" },
    { "{\"weight_map\": {\"x\": \"absent.safetensors\"}}", -ENOENT, "absent.safetensors" },
    { "{\"weight_map\": {\"w\": \"a.safetensors\"}}", -EINVAL, "tensor w is not in a.safetensors" },
};

START_TEST(a_bad_index_is_refused)
{
    write_tensors("a.safetensors", "xy");
    write_index(refused[_i].index);

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), refused[_i].result);
    ck_assert_msg(strstr(err.message, refused[_i].message) != NULL, "%s", err.message);
}
END_TEST

START_TEST(without_an_index_all_files_are_taken)
{
    write_tensors("b.safetensors", "yz");
    write_tensors("a.safetensors", "x");
    write_tensors("consolidated.safetensors", "xyz");

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), 0);
    ck_assert_int_eq(checkpoint.num_files, 2);
    ck_assert_int_eq(read_letter("z"), 'z');
}
END_TEST

START_TEST(without_an_index_a_name_may_not_repeat)
{
    write_tensors("a.safetensors", "xy");
    write_tensors("b.safetensors", "yz");

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), -EINVAL);
    ck_assert_str_eq(err.message, "tensor y is in a.safetensors and in b.safetensors");
}
END_TEST

START_TEST(a_folder_without_weights_is_named)
{
    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, folder));
    ck_assert_int_eq(checkpoint_open("/nonexistent", &checkpoint, &err), -ENOENT);
}
END_TEST

START_TEST(links_to_files_are_followed)
{
    write_tensors("blob", "x");
    ck_assert_int_eq(symlink("blob", "model.safetensors"), 0);
    snprintf(files[num_files++], sizeof(files[0]), "model.safetensors");

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), 0);
    ck_assert_int_eq(read_letter("x"), 'x');
}
END_TEST

START_TEST(a_broken_file_is_named)
{
    write_file("model.safetensors", "\2\0\0\0\0\0\0\0{", 9);

    ck_assert_int_eq(checkpoint_open(folder, &checkpoint, &err), -EINVAL);
    ck_assert_str_eq(err.message, "model.safetensors: header of 2 bytes in a file of 9");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tc = tcase_create("checkpoint");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_single_file_is_opened);
    tcase_add_test(tc, the_map_decides_where_a_tensor_lies);
    tcase_add_loop_test(tc, a_bad_index_is_refused, 0, sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tc, without_an_index_all_files_are_taken);
    tcase_add_test(tc, without_an_index_a_name_may_not_repeat);
    tcase_add_test(tc, a_folder_without_weights_is_named);
    tcase_add_test(tc, links_to_files_are_followed);
    tcase_add_test(tc, a_broken_file_is_named);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
