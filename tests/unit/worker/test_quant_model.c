/* Models with quantized weights: what stays quantized, and what they take. What they compute is
 * held with all other goldens. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "rig.h"
#include "worker/model/measure.h"

/* Widened is the transposed half of kv_b_proj in each layer. Matrices that are one to the forward
 * may differ in the order of their groups, or some be quantized alone: q, k and v, gate and up. */
static const struct {
    const char *name, *described;
    int32_t num_widened;
} models[] = {
    { "fp8_tensor", "FP8, E4M3, a scale per tensor", 0 },
    { "fp8_block_128", "FP8, E4M3, blocks of 128 x 128", 0 },
    { "fp8_fbgemm", "FP8 (fbgemm), E4M3, a scale per channel", 0 },
    { "ct_fp8_channel", "compressed-tensors, E4M3, a scale per channel", 0 },
    { "ct_int8", "compressed-tensors, 8 bits, a scale per channel", 0 },
    { "ct_int4_group", "compressed-tensors, 4 bits, groups of 32", 0 },
    { "ct_int4_order", "compressed-tensors, 4 bits, groups of 16, act-order", 0 },
    { "gptq_128", "GPTQ, 4 bits, groups of 128", 0 },
    { "gptq_order", "GPTQ, 4 bits, groups of 16, act-order", 0 },
    { "gptq_v2_8bit", "GPTQ, 8 bits, a scale per channel", 0 },
    { "awq_32", "AWQ, 4 bits, groups of 32", 0 },
    { "mixtral_awq", "AWQ, 4 bits, groups of 32", 0 },
    { "deepseek_fp8", "FP8, E4M3, blocks of 16 x 32", 2 },
    { "gptq_orders_apart", "GPTQ, 4 bits, groups of 32, act-order", 0 },
    { "awq_some", "AWQ, 4 bits, groups of 32", 0 },
    { "ct_fp8_some", "compressed-tensors, E4M3, a scale per channel", 0 },
    { "mixtral_awq_some", "AWQ, 4 bits, groups of 32", 0 },
};
enum { NUM_MODELS = sizeof(models) / sizeof(models[0]) };

START_TEST(matrices_stay_quantized)
{
    char dir[256], text[256];
    static struct measure m;
    struct rig rig;
    struct error err = { 0 };
    snprintf(dir, sizeof(dir), GOLDEN "/quantized/%s", models[_i].name);
    const struct model_options options = { .dir = dir,
                                           .kv_dtype = DTYPE_F16,
                                           .block_size = RIG_BLOCK_SIZE,
                                           .max_rows = 8,
                                           .max_logits = 8 };
    ck_assert_msg(measure_model(&options, 1, &m, &err) == 0, "%s", err.message);
    config_quant_describe(&m.whole.quant, text, sizeof(text));
    ck_assert_str_eq(text, models[_i].described);

    ck_assert_int_eq(rig_open(&rig, &(struct rig_options){ .dir = dir }, &err), 0);
    ck_assert_int_eq(model_num_widened(rig.model), models[_i].num_widened);
    ck_assert_uint_eq(model_weight_bytes(rig.model), m.weight_bytes);
    if (models[_i].num_widened == 0) /* whole panels, scales and zeros of as many bytes each */
        ck_assert_double_le((double)m.weight_bytes, 1.35 * (double)m.checkpoint_bytes);
    rig_close(&rig);
}
END_TEST

/* A copy of gptq_128, whose biases are zeros that nobody asks for. */
static void copy_file(const char *name, const char *dir, bool is_patched)
{
    char path[256];
    char *data;
    size_t len;
    struct error err;
    snprintf(path, sizeof(path), GOLDEN "/quantized/gptq_128/%s", name);
    ck_assert_int_eq(file_read(path, 1 << 20, &data, &len, &err), 0);
    if (is_patched) {
        uint64_t header;
        memcpy(&header, data, sizeof(header));
        const char *at = memmem(data, 8 + header, "q_proj.bias\"", 12);
        ck_assert_ptr_nonnull(at);
        at = strstr(at, "\"data_offsets\":[") + strlen("\"data_offsets\":[");
        data[8 + header + strtoul(at, NULL, 10) + 5] = 1;
    }
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    fclose(file);
    free(data);
}

START_TEST(a_bias_that_says_something_is_not_passed_over)
{
    char dir[] = "/tmp/test_quant_model_XXXXXX", path[256];
    struct rig rig;
    struct error err = { 0 };
    ck_assert_ptr_nonnull(mkdtemp(dir));
    copy_file("config.json", dir, false);
    copy_file("model.safetensors", dir, _i == 1);
    const int r = rig_open(&rig, &(struct rig_options){ .dir = dir }, &err);
    rig_close(&rig);
    snprintf(path, sizeof(path), "%s/config.json", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    unlink(path);
    rmdir(dir);
    ck_assert_int_eq(r, _i == 1 ? -EINVAL : 0);
    ck_assert(_i == 0 || strstr(err.message, "q_proj.bias") != NULL);
}
END_TEST

static float *run_read_by(const char *dir, enum read_io io, size_t *ret_num)
{
    enum { NUM = 48 };
    static const int32_t blocks[] = { 2, 0, 1 };
    int32_t tokens[NUM];
    struct rig rig;
    struct error err = { 0 };
    const struct rig_options options = { .dir = dir, .num_threads = 2, .weight_io = io };
    ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s", err.message);
    *ret_num = NUM * (size_t)rig.vocab_size;
    float *logits = malloc(*ret_num * sizeof(*logits));
    ck_assert_ptr_nonnull(logits);
    for (int32_t i = 0; i < NUM; i++)
        tokens[i] = (7 * i + 3) % rig.vocab_size;
    rig_run(&rig, tokens, NUM, 16, blocks, logits);
    rig_close(&rig);
    return logits;
}

/* Pieces across the file, through io_uring where this file system has direct reads. */
START_TEST(however_files_are_read_the_bits_are_the_same)
{
    char dir[256];
    size_t num, same;
    snprintf(dir, sizeof(dir), GOLDEN "/quantized/%s", models[_i].name);
    float *buffered = run_read_by(dir, READ_IO_BUFFERED, &num);
    float *direct = run_read_by(dir, READ_IO_DIRECT, &same);
    ck_assert_uint_eq(num, same);
    ck_assert_mem_eq(buffered, direct, num * sizeof(float));
    free(buffered);
    free(direct);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quant_model");
    TCase *tc = tcase_create("quant_model");
    tcase_add_loop_test(tc, matrices_stay_quantized, 0, NUM_MODELS);
    tcase_add_loop_test(tc, however_files_are_read_the_bits_are_the_same, 0, NUM_MODELS);
    tcase_add_loop_test(tc, a_bias_that_says_something_is_not_passed_over, 0, 2);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
