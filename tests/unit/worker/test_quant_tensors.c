/* Tensors of quantized matrices, taken for one each, and those that do not fit each other. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/model/quant_tensors.h"

enum { MAX_ITEMS = 8, MAX_FILE = 1 << 16 };

/* A tensor whose 32-bit words are all `word`. */
struct item {
    const char *name, *dtype, *shape;
    int32_t word;
};

static const struct {
    const char *name;
    size_t bytes;
} sizes[] = { { "I32", 4 },  { "I64", 8 },     { "F32", 4 },     { "F16", 2 },
              { "BF16", 2 }, { "F8_E4M3", 1 }, { "F8_E8M0", 1 }, { "I8", 1 } };

static char dir[] = "/tmp/test_quant_tensors_XXXXXX", path[64];
static struct checkpoint checkpoint;
static struct error err;

static size_t bytes_of(const struct item *item)
{
    size_t num = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (strcmp(sizes[i].name, item->dtype) == 0)
            num = sizes[i].bytes;
    for (const char *at = item->shape; *at != '\0'; at += *at == ',') {
        char *end;
        num *= (size_t)strtoul(at, &end, 10);
        at = end;
        if (*at == '\0')
            break;
    }
    return num;
}

static void write_file(const struct item *items)
{
    static unsigned char data[MAX_FILE];
    char header[4096] = "{";
    size_t at = 0;
    for (; items->name != NULL; items++) {
        const size_t bytes = bytes_of(items);
        sprintf(header + strlen(header),
                "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
                at > 0 ? ", " : "", items->name, items->dtype, items->shape, at, at + bytes);
        ck_assert_uint_le(at + bytes, sizeof(data));
        for (size_t i = 0; i < bytes; i++)
            data[at + i] = (unsigned char)((uint32_t)items->word >> 8 * (i % 4));
        at += bytes;
    }
    strcat(header, "}");
    const uint64_t length = strlen(header);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    fwrite(&length, sizeof(length), 1, file);
    fwrite(header, 1, length, file);
    fwrite(data, 1, at, file);
    fclose(file);
}

static int fold(const char *config, const struct item *items)
{
    struct config_quant quant;
    json_t *root = json_loads(config, 0, NULL);
    ck_assert_ptr_nonnull(root);
    write_file(items);
    err = (struct error){ 0 };
    ck_assert_msg(config_quant_read(root, &quant, &err) == 0, "%s", err.message);
    json_decref(root);
    ck_assert_msg(checkpoint_open(dir, &checkpoint, &err) == 0, "%s", err.message);
    return quant_tensors_fold(&quant, &checkpoint, &err);
}

static void setup(void)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
}

static void teardown(void)
{
    checkpoint_close(&checkpoint);
    unlink(path);
    rmdir(dir);
}

#define Q(text)  "{\"quantization_config\": {" text "}}"
#define GPTQ     Q("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32")
#define GPTQ_8   Q("\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": -1")
#define ORDER    Q("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"desc_act\": true")
#define AWQ      Q("\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32")
#define FP8      Q("\"quant_method\": \"fp8\"")
#define BLOCKS   Q("\"quant_method\": \"fp8\", \"weight_block_size\": [12, 48]")
#define CT(text) Q("\"quant_method\": \"compressed-tensors\", \"config_groups\": {" text "}")
#define PACKED                                                                                     \
    CT("\"a\": {\"format\": \"pack-quantized\","                                                   \
       " \"weights\": {\"num_bits\": 4, \"group_size\": 32, \"symmetric\": false}}")
#define TWO_BLOCKS                                                                                 \
    CT("\"a\": {\"weights\": {\"type\": \"float\", \"strategy\": \"block\","                       \
       " \"block_structure\": [8, 64]}},"                                                          \
       " \"b\": {\"weights\": {\"type\": \"float\", \"strategy\": \"block\","                      \
       " \"block_structure\": [9, 64]}}")
#define TWO_ALIKE                                                                                  \
    CT("\"a\": {\"weights\": {\"type\": \"float\", \"strategy\": \"channel\"}},"                   \
       " \"b\": {\"weights\": {\"type\": \"float\", \"strategy\": \"group\","                      \
       " \"group_size\": 64}}")

/* All matrices are [16][64]. */
static const struct good {
    const char *config;
    struct item items[MAX_ITEMS];
    enum dtype dtype;
    int32_t scale_rows, num_groups;
    bool has_zeros, has_order;
} good[] = {
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 },
        { "m.g_idx", "I32", "64", 0 } },
      DTYPE_I4,
      1,
      2,
      true,
      false },
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "BF16", "2,16", 0 } },
      DTYPE_I4,
      1,
      2,
      true,
      false },
    { ORDER,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 },
        { "m.g_idx", "I32", "64", 1 } },
      DTYPE_I4,
      1,
      2,
      true,
      true },
    { GPTQ_8,
      { { "m.qweight", "I32", "16,16", 0 },
        { "m.qzeros", "I32", "1,4", 0 },
        { "m.scales", "F16", "1,16", 0 } },
      DTYPE_I8,
      1,
      1,
      true,
      false },
    { AWQ,
      { { "m.qweight", "I32", "64,2", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 } },
      DTYPE_I4,
      1,
      2,
      true,
      false },
    { FP8,
      { { "m.weight", "F8_E4M3", "16,64", 0 },
        { "m.weight_scale", "F32", "1", 0 },
        { "m.input_scale", "F32", "1", 0 },
        { "attn.k_scale", "F32", "1", 0 } },
      DTYPE_F8_E4M3,
      16,
      1,
      false,
      false },
    { FP8,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale", "BF16", "16,1", 0 } },
      DTYPE_F8_E4M3,
      1,
      1,
      false,
      false },
    { BLOCKS,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale_inv", "F8_E8M0", "2,2", 0 } },
      DTYPE_F8_E4M3,
      12,
      2,
      false,
      false },
    { TWO_ALIKE,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale", "BF16", "16,1", 0 } },
      DTYPE_F8_E4M3,
      1,
      1,
      false,
      false },
    { PACKED,
      { { "m.weight_packed", "I32", "16,8", 0 },
        { "m.weight_shape", "I32", "2", 0 },
        { "m.weight_scale", "BF16", "16,2", 0 },
        { "m.weight_zero_point", "I32", "2,2", 0 },
        { "m.weight_g_idx", "I32", "64", -1 } },
      DTYPE_I4,
      1,
      2,
      true,
      false },
};
enum { NUM_GOOD = sizeof(good) / sizeof(good[0]) };

/* The one tensor whose words differ. */
static void set_shape(int32_t rows, int32_t cols)
{
    FILE *file = fopen(path, "r+b");
    const int32_t shape[] = { rows, cols };
    uint64_t length;
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(&length, sizeof(length), 1, file), 1);
    fseek(file, (long)(8 + length + 16 * 8 * 4), SEEK_SET); /* behind weight_packed */
    fwrite(shape, sizeof(shape), 1, file);
    fclose(file);
}

static int fold_packed(const char *config, const struct item *items, int32_t rows, int32_t cols)
{
    struct config_quant quant;
    json_t *root = json_loads(config, 0, NULL);
    write_file(items);
    set_shape(rows, cols);
    ck_assert_int_eq(config_quant_read(root, &quant, &err), 0);
    json_decref(root);
    ck_assert_int_eq(checkpoint_open(dir, &checkpoint, &err), 0);
    return quant_tensors_fold(&quant, &checkpoint, &err);
}

START_TEST(tensors_of_a_matrix_become_one)
{
    const struct good *g = &good[_i];
    const bool is_packed = strcmp(g->config, PACKED) == 0;
    const int r = is_packed ? fold_packed(g->config, g->items, 16, 64) : fold(g->config, g->items);
    ck_assert_msg(r == 0, "%s", err.message);
    ck_assert_int_eq(checkpoint.num_tensors, 1);
    const struct checkpoint_tensor *tensor = checkpoint_find(&checkpoint, "m.weight");
    ck_assert_ptr_nonnull(tensor);
    const struct safetensors_tensor *info = tensor->info;
    const struct quant_tensor *q = info->quant;
    ck_assert(info->rank == 2 && info->shape[0] == 16 && info->shape[1] == 64);
    ck_assert(info->dtype->dtype == g->dtype && q->dtype == g->dtype);
    ck_assert_int_eq(q->scale_rows, g->scale_rows);
    ck_assert_int_eq(q->num_groups, g->num_groups);
    ck_assert(g->has_zeros == (q->zeros.info != NULL) && g->has_order == (q->groups != NULL));
}
END_TEST

static const struct bad {
    const char *config;
    struct item items[MAX_ITEMS];
    int result;
    const char *sentence;
} bad[] = {
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 }, { "m.qzeros", "I32", "2,2", 0 } },
      -EINVAL,
      "tensor m.scales is missing" },
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 }, { "m.scales", "F16", "2,16", 0 } },
      -EINVAL,
      "tensor m.qzeros is missing" },
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,17", 0 } },
      -EINVAL,
      "tensor m.scales is F16 [2][17], wanted floats [2][16]" },
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "I32", "2,16", 0 } },
      -ENOTSUP,
      "tensor m.scales is I32, supported are" },
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,3", 0 },
        { "m.scales", "F16", "2,16", 0 } },
      -EINVAL,
      "tensor m.qzeros is I32 [2][3], wanted I32 [2][2]" },
    { GPTQ, { { "m.qweight", "I32", "5,16", 0 } }, -EINVAL, "m is [16][40], wanted multiples" },
    { GPTQ, { { "m.qweight", "I32", "8,12", 0 } }, -EINVAL, "m is [12][64], wanted multiples" },
    { GPTQ,
      { { "m.qweight", "F32", "8,16", 0 } },
      -EINVAL,
      "m.qweight is F32 [8][16], wanted I32" },
    { GPTQ, { { "m.qweight", "I32", "8", 0 } }, -ENOTSUP, "m: its values are no matrix" },
    { GPTQ, { { "m.qweight", "I32", "0,16", 0 } }, -ENOTSUP, "m: its values are no matrix" },
    { GPTQ,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 },
        { "m.weight", "F16", "16,64", 0 } },
      -EINVAL,
      "tensor m.weight is there plain and quantized" },
    { ORDER,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 } },
      -EINVAL,
      "m: g_idx is missing, wanted with desc_act" },
    { ORDER,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 },
        { "m.g_idx", "I32", "64", 2 } },
      -EINVAL,
      "tensor m.g_idx has 2 at 0, wanted 0 to 1" },
    { ORDER,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 },
        { "m.g_idx", "I32", "64", -2 } },
      -EINVAL,
      "tensor m.g_idx has -2 at 0" },
    { ORDER,
      { { "m.qweight", "I32", "8,16", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "2,16", 0 },
        { "m.g_idx", "I32", "63", 0 } },
      -EINVAL,
      "tensor m.g_idx is I32 [63], wanted I32 [64]" },
    { AWQ, { { "m.qweight", "I32", "48,2", 0 } }, -EINVAL, "m has 48 columns, wanted a multiple" },
    { AWQ,
      { { "m.qweight", "I32", "64,2", 0 },
        { "m.qzeros", "I32", "2,2", 0 },
        { "m.scales", "F16", "3,16", 0 } },
      -EINVAL,
      "tensor m.scales is F16 [3][16], wanted floats [2][16]" },
    { FP8, { { "m.weight", "F8_E4M3", "16,64", 0 } }, -EINVAL, "tensor m.weight_scale is missing" },
    { FP8,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale", "F32", "15,1", 0 } },
      -EINVAL,
      "tensor m.weight_scale is F32 [15][1], which quantization_config does not say" },
    { FP8,
      { { "m.weight", "F8_E4M3", "2,16,64", 0 }, { "m.weight_scale", "F32", "1", 0 } },
      -ENOTSUP,
      "m: its values are no matrix" },
    { BLOCKS,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale_inv", "F32", "2,3", 0 } },
      -EINVAL,
      "tensor m.weight_scale_inv is F32 [2][3], which" },
    { BLOCKS,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale_inv", "F32", "16,1", 0 } },
      -EINVAL,
      "tensor m.weight_scale_inv is F32 [16][1], which" },
    { TWO_BLOCKS,
      { { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale", "F32", "2,1", 0 } },
      -ENOTSUP,
      "m: two of config_groups fit its scales with different meaning" },
    { PACKED,
      { { "m.weight_packed", "I32", "16,8", 0 }, { "m.weight_scale", "BF16", "16,2", 0 } },
      -EINVAL,
      "tensor m.weight_shape is missing" },
    { PACKED,
      { { "m.weight_packed", "I32", "16,8", 0 }, { "m.weight_shape", "I32", "2", 0x7fffffff } },
      -ENOTSUP,
      "m: its values are no matrix" },
    { PACKED,
      { { "m.weight_packed", "I32", "16,8", 0 }, { "m.weight_shape", "I64", "2", 7 } },
      -ENOTSUP,
      "m: its values are no matrix" },
    { PACKED,
      { { "m.weight_packed", "I32", "16,8", 0 }, { "m.weight_shape", "I32", "2", 17 } },
      -EINVAL,
      "tensor m.weight_packed is I32 [16][8], wanted I32 [17][5]" },
};
enum { NUM_BAD = sizeof(bad) / sizeof(bad[0]) };

START_TEST(tensors_that_do_not_fit_each_other_are_refused)
{
    const int r = fold(bad[_i].config, bad[_i].items);
    ck_assert_msg(r == bad[_i].result, "%s: %d, %s", bad[_i].sentence, r, err.message);
    ck_assert_msg(strstr(err.message, bad[_i].sentence) != NULL, "%s: %s", bad[_i].sentence,
                  err.message);
}
END_TEST

START_TEST(what_belongs_to_no_matrix_stays)
{
    const struct item items[] = {
        { "m.weight", "F8_E4M3", "16,64", 0 },   { "m.weight_scale", "F32", "1", 0 },
        { "m.weight_scale_inv", "F32", "1", 0 }, { "n.weight", "F16", "4,4", 0 },
        { "n.weight_scale", "F32", "1", 0 },     { NULL, NULL, NULL, 0 }
    };
    ck_assert_msg(fold(FP8, items) == 0, "%s", err.message);
    ck_assert_int_eq(checkpoint.num_tensors, 4);
    ck_assert_ptr_null(checkpoint_find(&checkpoint, "n.weight")->info->quant);
    ck_assert_ptr_nonnull(checkpoint_find(&checkpoint, "m.weight_scale"));
    ck_assert_ptr_nonnull(checkpoint_find(&checkpoint, "n.weight_scale"));
}
END_TEST

START_TEST(without_a_method_nothing_is_done)
{
    const struct item items[] = { { "m.weight", "F8_E4M3", "16,64", 0 },
                                  { "m.weight_scale", "F32", "1", 0 },
                                  { NULL, NULL, NULL, 0 } };
    ck_assert_int_eq(fold("{}", items), 0);
    ck_assert_int_eq(checkpoint.num_tensors, 2);
}
END_TEST

START_TEST(a_bias_of_zeros_beside_a_quantized_matrix_is_idle)
{
    const struct item items[] = {
        { "m.weight", "F8_E4M3", "16,64", 0 }, { "m.weight_scale", "F32", "1", 0 },
        { "m.bias", "F16", "16", 0 },          { "o.weight", "F8_E4M3", "16,64", 0 },
        { "o.weight_scale", "F32", "1", 0 },   { "o.bias", "F16", "16", 1 },
        { "p.bias", "F16", "16", 0 },          { NULL, NULL, NULL, 0 }
    };
    static const struct {
        const char *name;
        int is_idle;
    } wanted[] = { { "m.bias", 1 }, { "o.bias", 0 }, { "p.bias", 0 }, { "m.weight", 0 } };
    ck_assert_int_eq(fold(FP8, items), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(
            quant_tensors_is_idle_bias(&checkpoint, checkpoint_find(&checkpoint, wanted[i].name)),
            wanted[i].is_idle);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quant_tensors");
    TCase *tc = tcase_create("quant_tensors");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, tensors_of_a_matrix_become_one, 0, NUM_GOOD);
    tcase_add_loop_test(tc, tensors_that_do_not_fit_each_other_are_refused, 0, NUM_BAD);
    tcase_add_test(tc, what_belongs_to_no_matrix_stays);
    tcase_add_test(tc, without_a_method_nothing_is_done);
    tcase_add_test(tc, a_bias_of_zeros_beside_a_quantized_matrix_is_idle);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
