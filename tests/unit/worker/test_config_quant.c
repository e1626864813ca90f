/* quantization_config: what is read of it, and what is refused by name. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/runner.h"
#include "worker/model/config.h"

static struct arch arch;
static struct error err;

static int parse(const char *quantization)
{
    char text[4096];
    snprintf(
        text, sizeof(text),
        "{\"model_type\": \"llama\", \"vocab_size\": 96, \"hidden_size\": 64,"
        " \"intermediate_size\": 64, \"num_hidden_layers\": 1, \"num_attention_heads\": 4%s%s}",
        quantization[0] != '\0' ? ", " : "", quantization);
    err = (struct error){ 0 };
    return config_parse(text, strlen(text), DTYPE_F16, 16, &arch, NULL, &err);
}

#define Q(text)  "\"quantization_config\": {" text "}"
#define CT(text) Q("\"quant_method\": \"compressed-tensors\", " text)
#define GROUP(format, weights)                                                                     \
    CT("\"format\": \"" format "\", \"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"],"  \
       " \"weights\": {" weights "}, \"input_activations\": null}}, \"ignore\": [\"lm_head\"]")

static const struct {
    const char *text, *described;
} accepted[] = {
    { "", "" },
    { "\"quantization_config\": null", "" },
    { Q("\"quant_method\": \"fp8\""), "FP8, E4M3, a scale per tensor" },
    { Q("\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"activation_scheme\": \"dynamic\","
        " \"weight_block_size\": [128, 64], \"modules_to_not_convert\": [\"lm_head\"],"
        " \"scale_fmt\": \"ue8m0\""),
      "FP8, E4M3, blocks of 128 x 64" },
    { Q("\"quant_method\": \"fp8\", \"weight_block_size\": null, \"ignored_layers\": []"),
      "FP8, E4M3, a scale per tensor" },
    { Q("\"quant_method\": \"fbgemm_fp8\", \"activation_scale_ub\": 1200.0"),
      "FP8 (fbgemm), E4M3, a scale per channel" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"desc_act\": true,"
        " \"sym\": true, \"damp_percent\": 0.1, \"true_sequential\": true"),
      "GPTQ, 4 bits, groups of 128, act-order" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": -1,"
        " \"checkpoint_format\": \"gptq_v2\", \"dynamic\": {\"-:.*down.*\": {}}"),
      "GPTQ, 8 bits, a scale per channel" },
    { Q("\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 64, \"zero_point\": true,"
        " \"version\": \"gemm\""),
      "AWQ, 4 bits, groups of 64" },
    { Q("\"quant_method\": \"awq\", \"w_bit\": 4, \"q_group_size\": 32, \"version\": \"GEMM\""),
      "AWQ, 4 bits, groups of 32" },
    { GROUP("float-quantized", "\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\""),
      "compressed-tensors, E4M3, a scale per channel" },
    { GROUP("naive-quantized", "\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"block\","
                               " \"block_structure\": [128, 128]"),
      "compressed-tensors, E4M3, blocks of 128 x 128" },
    { GROUP("pack-quantized", "\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"group\","
                              " \"group_size\": 32, \"symmetric\": false, \"actorder\": \"group\""),
      "compressed-tensors, 4 bits, groups of 32, act-order" },
    { GROUP("pack-quantized", "\"num_bits\": 4, \"type\": \"int\", \"group_size\": 128,"
                              " \"actorder\": \"weight\""),
      "compressed-tensors, 4 bits, groups of 128" },
    { "\"compression_config\": {\"quant_method\": \"compressed-tensors\", \"config_groups\":"
      " {\"a\": {\"weights\": {\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\"}},"
      " \"b\": {\"weights\": {\"num_bits\": 8, \"type\": \"float\"}}, \"c\": {\"weights\": null}}}",
      "compressed-tensors, 8 bits, a scale per channel; E4M3, a scale per tensor" },
};
enum { NUM_ACCEPTED = sizeof(accepted) / sizeof(accepted[0]) };

START_TEST(what_is_known_is_read)
{
    char text[512];
    ck_assert_msg(parse(accepted[_i].text) == 0, "%s: %s", accepted[_i].text, err.message);
    config_quant_describe(&arch.quant, text, sizeof(text));
    ck_assert_str_eq(text, accepted[_i].described);
}
END_TEST

#define ACTIVATIONS(weights, inputs)                                                               \
    CT("\"config_groups\": {\"a\": {\"weights\": {" weights "}, \"input_activations\": " inputs    \
       "}}")
#define FLOAT "\"num_bits\": 8, \"type\": \"float\""
#define INT   "\"num_bits\": 8, \"type\": \"int\""

static const struct {
    const char *text;
    bool rounds;
} inputs[] = {
    { Q("\"quant_method\": \"fp8\""), true },
    { Q("\"quant_method\": \"fp8\", \"activation_scheme\": \"static\""), true },
    { Q("\"quant_method\": \"fbgemm_fp8\""), true },
    { ACTIVATIONS(FLOAT, "{" FLOAT ", \"dynamic\": true, \"strategy\": \"token\"}"), true },
    { ACTIVATIONS(FLOAT, "null"), false },
    { ACTIVATIONS(FLOAT, "{" INT "}"), false },
    { ACTIVATIONS(FLOAT, "{\"num_bits\": 16, \"type\": \"float\"}"), false },
    { ACTIVATIONS(FLOAT, "7"), false },
    { ACTIVATIONS(INT, "{" FLOAT "}"), false },
    { Q("\"quant_method\": \"gptq\", \"bits\": 8"), false },
};
enum { NUM_INPUTS = sizeof(inputs) / sizeof(inputs[0]) };

START_TEST(inputs_are_rounded_where_the_checkpoint_says_so)
{
    ck_assert_msg(parse(inputs[_i].text) == 0, "%s: %s", inputs[_i].text, err.message);
    ck_assert_int_eq(arch.quant.num_schemes, 1);
    ck_assert_int_eq(arch.quant.schemes[0].rounds_inputs, inputs[_i].rounds);
}
END_TEST

static const struct {
    const char *text;
    int result;
    const char *sentence; /* behind "config.json: quantization_config: " */
} refused[] = {
    { "\"quantization_config\": 7", -EINVAL, "not an object" },
    { Q(""), -ENOTSUP, "quant_method is \"unnamed\"" },
    { Q("\"quant_method\": 3"), -EINVAL, "quant_method is not a string" },
    { Q("\"quant_method\": \"bitsandbytes\""), -ENOTSUP,
      "quant_method is \"bitsandbytes\", supported are fp8" },
    { Q("\"quant_method\": \"mxfp4\""), -ENOTSUP, "quant_method is \"mxfp4\"" },
    { Q("\"quant_method\": \"fp8\", \"fmt\": \"e5m2\""), -ENOTSUP, "fmt is \"e5m2\"" },
    { Q("\"quant_method\": \"fp8\", \"weight_block_size\": [128]"), -EINVAL,
      "weight_block_size is no pair" },
    { Q("\"quant_method\": \"fp8\", \"weight_block_size\": [128, 0]"), -EINVAL,
      "weight_block_size is no pair" },
    { Q("\"quant_method\": \"fp8\", \"weight_block_size\": [1e300, 128]"), -EINVAL,
      "weight_block_size is no pair" },
    { Q("\"quant_method\": \"fp8\", \"ignored_layers\": \"all\""), -EINVAL,
      "ignored_layers is not a list" },
    { Q("\"quant_method\": \"fp8\", \"modules_to_not_convert\": [\"a\", 3]"), -EINVAL,
      "modules_to_not_convert[1] is not a string" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 3"), -ENOTSUP, "bits is 3, supported are 4 and 8" },
    { Q("\"quant_method\": \"gptq\""), -ENOTSUP, "bits is 0" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4.5"), -EINVAL, "bits is not an integer" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 0"), -EINVAL,
      "group_size is 0, wanted -1" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": -2"), -EINVAL,
      "group_size is -2" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 99999999999"), -EINVAL,
      "group_size is 99999999999" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"desc_act\": 1"), -EINVAL,
      "desc_act is neither true nor false" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"checkpoint_format\": \"marlin\""), -ENOTSUP,
      "checkpoint_format is \"marlin\"" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"is_marlin_format\": true"), -ENOTSUP,
      "is_marlin_format is set" },
    { Q("\"quant_method\": \"gptq\", \"bits\": 4, \"dynamic\": {\"+:up\": {\"bits\": 8}}"),
      -ENOTSUP, "dynamic has a rule for \"+:up\"" },
    { Q("\"quant_method\": \"awq\", \"bits\": 8"), -ENOTSUP, "bits is 8, supported are 4" },
    { Q("\"quant_method\": \"awq\", \"version\": \"gemv\""), -ENOTSUP,
      "version is \"gemv\", supported is gemm" },
    { Q("\"quant_method\": \"awq\", \"zero_point\": false"), -ENOTSUP, "zero_point is false" },
    { CT("\"format\": \"pack-quantized\""), -EINVAL, "config_groups is not an object" },
    { CT("\"config_groups\": {}"), -EINVAL, "config_groups has no group" },
    { CT("\"config_groups\": {\"a\": []}"), -EINVAL, "config_groups has a group that is not" },
    { CT("\"config_groups\": {\"a\": {\"weights\": 4}}"), -EINVAL, "config_groups has a group" },
    { CT("\"config_groups\": {\"a\": {\"targets\": 4, \"weights\": {}}}"), -EINVAL,
      "targets is not a list" },
    { CT("\"format\": \"nvfp4-pack-quantized\""), -ENOTSUP, "format is \"nvfp4-pack-quantized\"" },
    { CT("\"format\": \"marlin-24\""), -ENOTSUP, "format is \"marlin-24\"" },
    { CT("\"transform_config\": {\"config_groups\": {}}"), -ENOTSUP, "transform_config is set" },
    { CT("\"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}"), -ENOTSUP,
      "format is \"sparse-24-bitmask\"" },
    { GROUP("float-quantized", "\"num_bits\": 4, \"type\": \"float\""), -ENOTSUP,
      "num_bits of type float is 4, supported are 8" },
    { GROUP("int-quantized", "\"num_bits\": 2, \"type\": \"int\""), -ENOTSUP,
      "num_bits of type int is 2" },
    { GROUP("int-quantized", "\"type\": \"complex\""), -ENOTSUP, "weights are dynamic or of type" },
    { GROUP("int-quantized", "\"dynamic\": true"), -ENOTSUP, "weights are dynamic" },
    { GROUP("int-quantized", "\"strategy\": \"token\""), -ENOTSUP, "strategy is \"token\"" },
    { GROUP("float-quantized", "\"type\": \"float\", \"strategy\": \"block\""), -EINVAL,
      "block_structure is no pair" },
};
enum { NUM_REFUSED = sizeof(refused) / sizeof(refused[0]) };

START_TEST(what_is_not_known_is_refused_by_name)
{
    static const char front[] = "config.json: quantization_config: ";
    ck_assert_msg(parse(refused[_i].text) == refused[_i].result, "%s: %d, %s", refused[_i].text,
                  err.code, err.message);
    ck_assert_msg(strncmp(err.message, front, strlen(front)) == 0 &&
                      strncmp(err.message + strlen(front), refused[_i].sentence,
                              strlen(refused[_i].sentence)) == 0,
                  "%s: %s", refused[_i].text, err.message);
}
END_TEST

START_TEST(nine_groups_are_too_many)
{
    char text[4096] = CT("\"config_groups\": {");
    text[strlen(text) - 1] = '\0';
    for (int i = 0; i < 9; i++)
        sprintf(text + strlen(text), "%s\"g%d\": {\"weights\": {}}", i > 0 ? ", " : "", i);
    strcat(text, "}}");
    ck_assert_int_eq(parse(text), -ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.message, "more than 8 groups"));
}
END_TEST

/* Older checkpoints have a file of its own. */
static const struct {
    const char *file, *text, *described;
} beside[] = {
    { "quantize_config.json", "{\"bits\": 4, \"group_size\": 64, \"desc_act\": true}",
      "GPTQ, 4 bits, groups of 64, act-order" },
    { "quant_config.json", "{\"w_bit\": 4, \"q_group_size\": 128, \"version\": \"GEMM\"}",
      "AWQ, 4 bits, groups of 128" },
    { "quantize_config.json", "{\"bits\": 5}", NULL },
    { "quantize_config.json", "{", NULL },
};

START_TEST(a_file_beside_is_read)
{
    char dir[] = "/tmp/test_config_quant_XXXXXX", path[64], text[256];
    struct config_quant quant;
    uint64_t hash = FILE_HASH_START;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(config_quant_read_beside(dir, &quant, &hash, &err), 0);
    ck_assert(quant.method == QUANT_NONE && hash == FILE_HASH_START);
    snprintf(path, sizeof(path), "%s/%s", dir, beside[_i].file);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(beside[_i].text, file);
    fclose(file);
    const int r = config_quant_read_beside(dir, &quant, &hash, &err);
    unlink(path);
    rmdir(dir);
    ck_assert_uint_ne(hash, FILE_HASH_START);
    if (beside[_i].described == NULL) {
        ck_assert_int_lt(r, 0);
        ck_assert_ptr_nonnull(strstr(err.message, beside[_i].file));
        return;
    }
    ck_assert_int_eq(r, 0);
    config_quant_describe(&quant, text, sizeof(text));
    ck_assert_str_eq(text, beside[_i].described);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_quant");
    TCase *tc = tcase_create("config_quant");
    tcase_add_loop_test(tc, what_is_known_is_read, 0, NUM_ACCEPTED);
    tcase_add_loop_test(tc, what_is_not_known_is_refused_by_name, 0, NUM_REFUSED);
    tcase_add_loop_test(tc, inputs_are_rounded_where_the_checkpoint_says_so, 0, NUM_INPUTS);
    tcase_add_test(tc, nine_groups_are_too_many);
    tcase_add_loop_test(tc, a_file_beside_is_read, 0, 4);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
