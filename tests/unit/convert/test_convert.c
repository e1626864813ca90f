/* Models written as GGUF and read again: the same logits, whatever the family; the same logits as
 * when weights are rounded while loading; a perplexity near that of what the blocks mean. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/convert.h"
#include "convert/fp8.h"
#include "formats/block_choice.h"
#include "tests/unit/worker/rig.h"
#include "tiny_model.h"

enum { NUM_TOKENS = 64, LONG = 128, MAX_VOCAB = 1024 };

static const int32_t blocks[] = { 5, 2, 11, 0, 7, 3, 8, 1 };
static int32_t tokens[LONG], num_tokens, first_scored;
static float first[LONG * MAX_VOCAB], second[LONG * MAX_VOCAB];
static char folder[] = "/tmp/test_convert_XXXXXX";

static void setup(void)
{
    num_tokens = NUM_TOKENS;
    first_scored = 0;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char command[128]; /* a folder of our own making */
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s.gguf", folder, name);
    return path;
}

static int convert(const char *from, const char *to, const char *type, struct error *err)
{
    struct convert_result result;
    const struct convert_options options = {
        .from = from, .to = to, .choice = block_choice_named(type), .num_threads = 3
    };
    return convert_run(&options, &result, err);
}

static void convert_well(const char *from, const char *to, const char *type)
{
    struct error err = { 0 };
    ck_assert_msg(convert(from, to, type, &err) == 0, "%s: %s", from, err.message);
}

static const char *isa; /* of the device; NULL: the best */

/* Returns the size of the vocabulary. */
static int32_t run(const char *path, const char *quantization, float *logits)
{
    struct rig rig;
    struct error err = { 0 };
    const struct rig_options options = {
        .dir = path, .isa = isa, .kv_dtype = DTYPE_F32, .quantization = quantization
    };
    ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s: %s", path, err.message);
    const int32_t vocab_size = rig.vocab_size;
    ck_assert_int_le(vocab_size, MAX_VOCAB);
    rig_run(&rig, tokens, num_tokens, 16, blocks, logits);
    rig_close(&rig);
    return vocab_size;
}

static void read_tokens(const char *path)
{
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(tokens, sizeof(int32_t), NUM_TOKENS, file), NUM_TOKENS);
    fclose(file);
}

/* Heads are in order again, experts apart, norms less their one, windows and two kinds of positions
 * as they were; f32, f16 and bf16 tensors all fit F32, and plain C sums them in one order. */
static const char *const equal[] = {
    GOLDEN "/llama/gqa_mixed",
    GOLDEN "/llama/mqa_f16_biases",
    GOLDEN "/llama/mha_f32_sharded",
    GOLDEN "/families/qwen2_yarn",
    GOLDEN "/families/qwen3_linear",
    GOLDEN_MADE_DIR "/phi_partial",
    GOLDEN "/families/mistral_wrapped",
    GOLDEN "/families/mixtral_gqa_bf16",
    GOLDEN "/families/qwen3_moe_norm",
    GOLDEN_MADE_DIR "/qwen2_moe_plain",
    GOLDEN "/families/olmo2_gqa",
    GOLDEN_MADE_DIR "/deepseek_v2_wide",
    GOLDEN_MADE_DIR "/deepseek_v2_normed",
};
enum { NUM_EQUAL = sizeof(equal) / sizeof(equal[0]) };

START_TEST(a_family_gives_the_same_bits_from_gguf)
{
    char from[256], to[128];
    snprintf(from, sizeof(from), "%s/tokens.i32", equal[_i]);
    read_tokens(from);
    snprintf(from, sizeof(from), "%s", equal[_i]);
    convert_well(from, path_of("f32", to), "f32");
    isa = "scalar";
    const int32_t vocab_size = run(from, NULL, first);
    ck_assert_int_eq(run(to, NULL, second), vocab_size);
    isa = NULL;
    ck_assert_mem_eq(first, second, NUM_TOKENS * (size_t)vocab_size * sizeof(float));
}
END_TEST

/* Divisors of frequencies, and what cos and sin are multiplied by, are rounded to float in the
 * file; so is Gemma's scale of the embedding, to the type of the weights; and 1 is added to its
 * norms. */
static const char *const near[] = {
    GOLDEN "/llama/gqa_bf16_llama3", GOLDEN "/families/phi3_long",
    GOLDEN "/families/phi3_short",   GOLDEN "/families/gemma_mqa",
    GOLDEN "/families/gemma_bias",   GOLDEN "/families/gemma3_wrapped",
    GOLDEN_MADE_DIR "/gemma2_plain", GOLDEN "/families/deepseek_v2_lite",
    GOLDEN "/families/deepseek_v3",
};
enum { NUM_NEAR = sizeof(near) / sizeof(near[0]) };

START_TEST(what_the_file_rounds_costs_little)
{
    char from[256], to[128];
    double most = 0.0, largest = 0.0;
    snprintf(from, sizeof(from), "%s/tokens.i32", near[_i]);
    read_tokens(from);
    snprintf(from, sizeof(from), "%s", near[_i]);
    convert_well(from, path_of("f32", to), "f32");
    const int32_t vocab_size = run(from, NULL, first);
    ck_assert_int_eq(run(to, NULL, second), vocab_size);
    for (int32_t i = 0; i < NUM_TOKENS * vocab_size; i++) {
        most = fmax(most, fabs((double)first[i] - (double)second[i]));
        largest = fmax(largest, fabs((double)first[i]));
    }
    ck_assert_msg(most <= 1e-3 * largest, "%s: %g of %g", near[_i], most, largest);
}
END_TEST

/* The last two differ from the one before in where they have which type alone. */
static const char *const types[] = { "q8_0", "q4_0", "q4_1", "q5_0",   "q5_1",   "q3_k",  "q4_k",
                                     "q5_k", "q6_k", "q2_k", "q4_k_m", "q3_k_m", "q5_k_m" };
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]), NUM_MEASURED = NUM_TYPES - 2 };

START_TEST(rounded_while_loading_a_model_has_the_bits_of_the_file)
{
    char to[128];
    read_tokens(GOLDEN "/ringlet/tokens.i32");
    convert_well(RINGLET, path_of("blocks", to), types[_i]);
    const int32_t vocab_size = run(RINGLET, types[_i], first);
    ck_assert_int_eq(run(to, NULL, second), vocab_size);
    ck_assert_mem_eq(first, second, NUM_TOKENS * (size_t)vocab_size * sizeof(float));
}
END_TEST

/* Of each token but the first, given those before it. */
static double perplexity(const float *logits, int32_t vocab_size)
{
    double sum = 0.0;
    for (int32_t t = first_scored; t < num_tokens - 1; t++) {
        const float *row = logits + t * vocab_size;
        double all = 0.0, most = -INFINITY;
        for (int32_t i = 0; i < vocab_size; i++)
            most = fmax(most, (double)row[i]);
        for (int32_t i = 0; i < vocab_size; i++)
            all += exp((double)row[i] - most);
        sum += most + log(all) - (double)row[tokens[t + 1]];
    }
    return exp(sum / (num_tokens - 1 - first_scored));
}

/* Only the activations' rounding differs: the blocks are written as what they mean, in F32. */
static void check_perplexity(const char *from, const char *type)
{
    char blocks_path[128], wide[128], command[300];
    convert_well(from, path_of("blocks", blocks_path), type);
    convert_well(blocks_path, path_of("wide", wide), "f32");
    const int32_t vocab_size = run(blocks_path, NULL, first);
    ck_assert_int_eq(run(wide, NULL, second), vocab_size);
    const double got = perplexity(first, vocab_size), wanted = perplexity(second, vocab_size);
    ck_assert_msg(fabs(got / wanted - 1.0) <= 0.005, "%s of %s: %g, wanted %g", type, from, got,
                  wanted);
    snprintf(command, sizeof(command), "rm %s %s", blocks_path, wide);
    ck_assert_int_eq(system(command), 0);
}

/* Of golden/ringlet/conversations.txt: "Can you tell a story about a turtle?", and the story, which
 * is what the model was trained to write. */
enum { QUESTION = 21 };
static const int32_t text[LONG] = {
    1020, 812, 268, 198, 718, 334, 611, 256, 425, 494, 256, 594, 30,  1021, 198, 1020,
    297,  82,  528, 541, 198, 452, 451, 256, 385, 450, 302, 256, 796, 594,  462, 736,
    13,   736, 463, 900, 256, 960, 704, 13,  471, 317, 736, 643, 256, 735,  418, 13,
    351,  735, 418, 302, 633, 11,  281, 736, 548, 348, 630, 13,  468, 442,  259, 704,
    886,  281, 259, 917, 302, 915, 13,  736, 302, 627, 281, 621, 420, 478,  647, 288,
    330,  13,  383, 736, 902, 256, 364, 516, 411, 13,  652, 423, 514, 395,  281, 447,
    25,   267, 653, 649, 605, 651, 472, 351, 594, 281, 259, 514, 461, 336,  361, 336,
    432,  372, 302, 449, 13,  467, 259, 469, 736, 465, 259, 735, 418, 281,  421, 256
};

START_TEST(perplexity_is_that_of_what_the_blocks_mean)
{
    memcpy(tokens, text, sizeof(text));
    num_tokens = LONG;
    first_scored = QUESTION - 1;
    check_perplexity(RINGLET, types[_i]);
}
END_TEST

static const char *const wide_families[] = { "qwen3", "gemma", "phi3" };

START_TEST(perplexity_of_other_families_is_that_of_what_the_blocks_mean)
{
    tiny_model_write(folder, wide_families[_i]);
    for (int32_t i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (i * i * 37 + 11 * i + 5) % TINY_VOCAB;
    for (int t = 0; t < NUM_MEASURED; t++)
        check_perplexity(folder, types[t]);
}
END_TEST

/* Blocks of 256, and q, k and v in one tensor. */
START_TEST(a_mixture_made_while_loading_has_the_bits_of_the_file)
{
    static const char *const families[] = { "qwen3", "phi3" };
    static const char *const mixtures[] = { "q2_k", "q4_k_m" };
    char to[128];
    tiny_model_write(folder, families[_i / 2]);
    for (int i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (i * 31 + 7) % TINY_VOCAB;
    convert_well(folder, path_of("blocks", to), mixtures[_i % 2]);
    const int32_t vocab_size = run(folder, mixtures[_i % 2], first);
    ck_assert_int_eq(run(to, NULL, second), vocab_size);
    ck_assert_mem_eq(first, second, NUM_TOKENS * (size_t)vocab_size * sizeof(float));
}
END_TEST

/* What HF computes of the same weights, dequantized. */
static const char *const quantized[] = {
    "fp8_tensor", "fp8_block_128", "fp8_fbgemm",   "ct_fp8_channel",    "ct_int8",
    "gptq_128",   "gptq_order",    "gptq_v2_8bit", "ct_int4_group",     "ct_int4_order",
    "awq_32",     "mixtral_awq",   "deepseek_fp8", "gptq_orders_apart",
};
enum { NUM_QUANTIZED = sizeof(quantized) / sizeof(quantized[0]) };

static double distance(const float *got, const float *wanted, size_t num)
{
    double squares = 0.0, differences = 0.0;
    for (size_t i = 0; i < num; i++) {
        squares += (double)wanted[i] * (double)wanted[i];
        differences += ((double)got[i] - (double)wanted[i]) * ((double)got[i] - (double)wanted[i]);
    }
    ck_assert_double_gt(squares, 0.0);
    return sqrt(differences / squares);
}

/* The golden's folder; its tokens are read. */
static const char *golden_of(int index, char from[256])
{
    char path[300];
    snprintf(from, 256, GOLDEN "/quantized/%s", quantized[index]);
    snprintf(path, sizeof(path), "%s/tokens.i32", from);
    read_tokens(path);
    return from;
}

static void check_logits(const char *from, const char *to, double most)
{
    char path[300];
    const size_t num = NUM_TOKENS * (size_t)run(to, NULL, first);
    snprintf(path, sizeof(path), "%s/logits.f32", from);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(second, sizeof(float), num, file), num);
    fclose(file);
    const double found = distance(first, second, num);
    ck_assert_msg(found <= most, "%s: %g, wanted %g", from, found, most);
}

START_TEST(a_quantized_model_is_written_as_what_it_means)
{
    char from[256], to[128];
    convert_well(golden_of(_i, from), path_of("wide", to), "f32");
    check_logits(from, to, 1e-4);
}
END_TEST

/* Where a rounded router chooses another expert the distance is greater. */
START_TEST(a_quantized_model_is_rounded_to_fp8_again)
{
    char from[256], to[128];
    struct error err = { 0 };
    struct convert_result result;
    const bool has_experts = strcmp(quantized[_i], "deepseek_fp8") == 0;
    const struct convert_options options = { .from = golden_of(_i, from),
                                             .to = path_of("fp8", to) };
    ck_assert_msg(convert_fp8_run(&options, &result, &err) == 0, "%s: %s", from, err.message);
    check_logits(from, to, has_experts ? 0.4 : 0.2);
}
END_TEST

START_TEST(what_gguf_cannot_say_is_refused_and_leaves_no_file)
{
    static const char *const rows[][2] = {
        { GOLDEN_MADE_DIR "/gemma2_caps", "the scale of scores" },
        { GOLDEN "/families/qwen3_moe_mlp_only", "the experts" },
        { GOLDEN "/families/qwen2_moe_sparse_step", "windows or kinds of layers" },
        { GOLDEN "/families/qwen2_moe_mlp_only", "the experts" },
        { GOLDEN_MADE_DIR "/deepseek_v2_groups", "has no name in GGUF's \"deepseek2\"" },
        { GOLDEN_MADE_DIR "/deepseek_v3_half_rope", "has no name in GGUF's \"deepseek2\"" },
        { GOLDEN_MADE_DIR "/olmo2_bias", "has no name in GGUF's \"olmo2\"" },
        { GOLDEN_MADE_DIR "/phi_qk_layernorm", "has no name in GGUF's \"phi2\"" },
    };
    char from[256], to[128], command[300];
    struct error err = { 0 };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(from, sizeof(from), "%s", rows[i][0]);
        ck_assert_int_eq(convert(from, path_of("no", to), "q8_0", &err), -ENOTSUP);
        ck_assert_msg(strstr(err.message, rows[i][1]) != NULL, "%s", err.message);
        snprintf(command, sizeof(command), "test -z \"$(ls %s)\"", folder);
        ck_assert_int_eq(system(command), 0);
    }
}
END_TEST

START_TEST(a_file_that_is_there_stays)
{
    char to[128];
    struct error err = { 0 };
    convert_well(RINGLET, path_of("there", to), "q8_0");
    ck_assert_int_eq(convert(RINGLET, to, "q4_0", &err), -EEXIST);
    struct stat info;
    ck_assert_int_eq(stat(to, &info), 0);
    ck_assert_int_gt(info.st_size, 2500000);
}
END_TEST

/* The last tensor of a file in F32 gets a value that no scale holds. */
START_TEST(a_weight_that_is_not_finite_is_told)
{
    static const float values[] = { NAN, INFINITY, -70000.0f };
    char wide[128], to[128];
    struct error err = { 0 };
    convert_well(RINGLET, path_of("wide", wide), "f32");
    struct stat info;
    ck_assert_int_eq(stat(wide, &info), 0);
    const int fd = open(wide, O_RDWR);
    for (int i = 0; i < 3; i++) {
        /* Embedding rows are first in the data: the middle of the file is a matrix. */
        ck_assert_int_eq(pwrite(fd, &values[i], 4, info.st_size / 2 / 32 * 32), 4);
        ck_assert_int_eq(convert(wide, path_of("no", to), "q4_k", &err), -EINVAL);
        ck_assert_msg(strstr(err.message, "not finite or beyond") != NULL, "%s", err.message);
        ck_assert_int_ne(access(to, F_OK), 0);
    }
    close(fd);
}
END_TEST

/* Types one after another: a file made of a file has the names and keys of the first. */
START_TEST(of_several_conversions_the_result_is_the_last_ones)
{
    char a[128], b[128], c[128], command[400];
    convert_well(RINGLET, path_of("a", a), "f32");
    convert_well(a, path_of("b", b), "q5_0");
    convert_well(RINGLET, path_of("c", c), "q5_0");
    read_tokens(GOLDEN "/ringlet/tokens.i32");
    const int32_t vocab_size = run(b, NULL, first);
    run(c, NULL, second);
    ck_assert_mem_eq(first, second, NUM_TOKENS * (size_t)vocab_size * sizeof(float));
    snprintf(command, sizeof(command), "test $(stat -c %%s %s) = $(stat -c %%s %s)", b, c);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("convert");
    TCase *tests = tcase_create("convert");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, a_family_gives_the_same_bits_from_gguf, 0, NUM_EQUAL);
    tcase_add_loop_test(tests, what_the_file_rounds_costs_little, 0, NUM_NEAR);
    tcase_add_loop_test(tests, rounded_while_loading_a_model_has_the_bits_of_the_file, 0,
                        NUM_TYPES);
    tcase_add_loop_test(tests, perplexity_is_that_of_what_the_blocks_mean, 0, NUM_MEASURED);
    tcase_add_loop_test(tests, perplexity_of_other_families_is_that_of_what_the_blocks_mean, 0, 3);
    tcase_add_loop_test(tests, a_mixture_made_while_loading_has_the_bits_of_the_file, 0, 4);
    tcase_add_loop_test(tests, a_quantized_model_is_written_as_what_it_means, 0, NUM_QUANTIZED);
    tcase_add_loop_test(tests, a_quantized_model_is_rounded_to_fp8_again, 0, NUM_QUANTIZED);
    tcase_add_test(tests, what_gguf_cannot_say_is_refused_and_leaves_no_file);
    tcase_add_test(tests, a_file_that_is_there_stays);
    tcase_add_test(tests, a_weight_that_is_not_finite_is_told);
    tcase_add_test(tests, of_several_conversions_the_result_is_the_last_ones);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
