/* The same model as GGUF and as safetensors: equal bits of logits. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_maker.h"
#include "rig.h"
#include "tests/unit/runner.h"
#include "worker/model/checkpoint.h"
#include "worker/model/tensor_read.h"

enum { NUM_TOKENS = 64, MAX_VOCAB = 128 };

static const int32_t blocks[] = { 5, 2, 11, 0 };
static int32_t tokens[NUM_TOKENS];
static float of_gguf[RIG_MAX_ROWS * MAX_VOCAB], of_safetensors[RIG_MAX_ROWS * MAX_VOCAB];

static const char *isa; /* of the device; NULL: the best */

/* Returns the size of the vocabulary. */
static int32_t run_in_chunks(const char *path, int32_t chunk, int32_t num_threads, float *logits)
{
    struct rig rig;
    struct error err = { 0 };
    const struct rig_options options = {
        .dir = path, .isa = isa, .kv_dtype = DTYPE_F32, .num_threads = num_threads
    };
    ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s: %s", path, err.message);
    const int32_t vocab_size = rig.vocab_size;
    rig_run(&rig, tokens, NUM_TOKENS, chunk, blocks, logits);
    rig_close(&rig);
    return vocab_size;
}

static int32_t run(const char *path, float *logits)
{
    return run_in_chunks(path, 16, 2, logits);
}

static void open_temporary(char *path)
{
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

/* Returns the number of logits. */
static size_t run_both(const char *folder, const char *name)
{
    char path[256];
    const char *of = strcmp(folder, "made") == 0 ? GOLDEN_MADE_DIR "/.." : GOLDEN;
    snprintf(path, sizeof(path), GOLDEN "/%s/%s/tokens.i32", folder, name);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(tokens, sizeof(int32_t), NUM_TOKENS, file), NUM_TOKENS);
    fclose(file);
    snprintf(path, sizeof(path), "%s/%s/%s", of, folder, name);
    const int32_t vocab_size = run(path, of_safetensors);
    snprintf(path, sizeof(path), GOLDEN "/gguf/%s_%s.gguf", folder, name);
    ck_assert_int_eq(run(path, of_gguf), vocab_size);
    return NUM_TOKENS * (size_t)vocab_size;
}

/* Heads of q and k are in order again, their biases too; scalings of positions; experts apart;
 * norms that hold their one; f32, f16 and bf16. */
static const char *const equal[][2] = {
    { "llama", "gqa_mixed" },         { "llama", "mqa_f16_biases" },
    { "families", "qwen2_yarn" },     { "families", "qwen3_linear" },
    { "families", "gemma_mqa" },      { "families", "mixtral_gqa_bf16" },
    { "families", "qwen3_moe_norm" }, { "families", "olmo2_gqa" },
    { "made", "qwen2_moe_plain" },
};
enum { NUM_EQUAL = sizeof(equal) / sizeof(equal[0]) };

/* In plain C, whose sums have one order whatever the type: what chooses experts is f32 in GGUF. */
START_TEST(a_gguf_file_gives_the_bits_of_the_safetensors_it_was_made_of)
{
    isa = "scalar";
    const size_t num = run_both(equal[_i][0], equal[_i][1]);
    isa = NULL;
    ck_assert_mem_eq(of_gguf, of_safetensors, num * sizeof(float));
}
END_TEST

/* Divisors of frequencies, what cos and sin are multiplied by, and what DeepSeek's scores are, are
 * rounded to float in the file. What makes keys and values is split in V2-Lite's, whole in V3's. */
static const char *const close_to[][2] = { { "llama", "gqa_bf16_llama3" },
                                           { "families", "phi3_long" },
                                           { "families", "deepseek_v2_lite" },
                                           { "families", "deepseek_v3" } };
enum { NUM_CLOSE = sizeof(close_to) / sizeof(close_to[0]) };

START_TEST(divisors_of_frequencies_cost_their_rounding_alone)
{
    const size_t num = run_both(close_to[_i][0], close_to[_i][1]);
    for (size_t i = 0; i < num; i++) {
        const double error = fabs((double)of_gguf[i] - (double)of_safetensors[i]);
        if (!(error <= 1e-4))
            ck_abort_msg("%s: %g", close_to[_i][1], error);
    }
}
END_TEST

/* Against a float32 forward over what the blocks mean: activations are rounded to eight bits. */
static const enum block_type types[] = {
    BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_Q4_K, BLOCK_Q6_K, BLOCK_Q4_1,
    BLOCK_Q5_0, BLOCK_Q5_1, BLOCK_Q2_K, BLOCK_Q3_K, BLOCK_Q5_K
};
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]), MIXTURE = NUM_TYPES, NUM_MADE };

/* A model of one type, or the mixture. */
static void make(const char *path, int made, bool widened)
{
    if (made == MIXTURE)
        gguf_maker_write_mixture(path, widened);
    else
        gguf_maker_write(path, types[made], widened);
}

START_TEST(blocks_give_nearly_the_logits_of_what_they_mean)
{
    char path[] = "/tmp/test_gguf_model_XXXXXX";
    open_temporary(path);
    for (int i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (i * 37 + 11) % 96;
    make(path, _i, false);
    const int32_t vocab_size = run(path, of_gguf);
    make(path, _i, true);
    ck_assert_int_eq(run(path, of_safetensors), vocab_size);
    unlink(path);

    double squares = 0.0, differences = 0.0;
    for (int32_t i = 0; i < NUM_TOKENS * vocab_size; i++) {
        const double wanted = (double)of_safetensors[i], off = (double)of_gguf[i] - wanted;
        squares += wanted * wanted;
        differences += off * off;
    }
    ck_assert_msg(squares > 0.0 && sqrt(differences / squares) <= 0.03, "%d: %g", _i,
                  sqrt(differences / squares));
    ck_assert_double_gt(differences, 0.0);
}
END_TEST

/* As the part of the keys is read of files from before kv_b_proj was split: any piece of the
 * transpose, wherever blocks begin. */
START_TEST(the_transpose_of_blocks_is_that_of_what_they_mean)
{
    enum { ROWS = 192, COLS = 256, FIRST = 37, NUM = 150, SKIPPED = 64, TURNED = 96 };
    static float plain[ROWS * COLS], turned[NUM * TURNED];
    char path[] = "/tmp/test_gguf_model_XXXXXX";
    struct checkpoint checkpoint;
    struct error err = { 0 };
    open_temporary(path);
    gguf_maker_write(path, types[_i], false);
    ck_assert_int_eq(checkpoint_open(path, &checkpoint, &err), 0);
    const struct checkpoint_tensor *tensor =
        checkpoint_find(&checkpoint, "model.layers.0.mlp.gate_proj.weight");
    ck_assert_ptr_nonnull(tensor);
    ck_assert_int_ge(tensor->info->shape[0], ROWS);
    ck_assert_int_eq(tensor->info->shape[1], COLS);
    const struct loader_part whole = { .tensor = tensor, .num_rows = ROWS };
    ck_assert_int_eq(tensor_read(&whole, COLS, 0, ROWS, DTYPE_F32, NULL, plain), 0);
    const struct loader_part part = { .tensor = tensor,
                                      .tensor_col = 16,
                                      .tensor_row = 5,
                                      .tensor_cols = COLS,
                                      .offset = SKIPPED * COLS,
                                      .turned = true };
    ck_assert_int_eq(tensor_read(&part, TURNED, FIRST, NUM, DTYPE_F32, NULL, turned), 0);
    for (int i = 0; i < NUM; i++)
        for (int c = 0; c < TURNED; c++)
            ck_assert_float_eq(turned[i * TURNED + c],
                               plain[(SKIPPED + 16 + c) * COLS + 5 + FIRST + i]);
    checkpoint_close(&checkpoint);
    unlink(path);
}
END_TEST

/* The first law, for matrices that stay blocks. */
START_TEST(neither_chunks_nor_threads_change_a_bit_of_blocks)
{
    static const int32_t chunks[] = { 64, 7, 3, 1 };
    char path[] = "/tmp/test_gguf_model_XXXXXX";
    open_temporary(path);
    for (int i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (i * 29 + 3) % 96;
    make(path, _i, false);
    const int32_t vocab_size = run(path, of_gguf);
    for (int32_t c = 0; c < 4; c++) {
        run_in_chunks(path, chunks[c], c + 1, of_safetensors);
        ck_assert_mem_eq(of_gguf, of_safetensors, NUM_TOKENS * (size_t)vocab_size * sizeof(float));
    }
    unlink(path);
}
END_TEST

/* Nothing of a mixture is widened: its matrices take in memory what they take in the file, and the
 * little by which six bits of a scale become bytes. */
START_TEST(a_mixture_takes_the_memory_of_its_file)
{
    char path[] = "/tmp/test_gguf_model_XXXXXX";
    struct rig rig;
    struct stat file;
    struct error err = { 0 };
    open_temporary(path);
    gguf_maker_write_mixture(path, false);
    ck_assert_int_eq(rig_open(&rig, &(struct rig_options){ .dir = path }, &err), 0);
    ck_assert_int_eq(stat(path, &file), 0);
    const double most = 1.04 * (double)file.st_size;
    ck_assert_double_le((double)model_weight_bytes(rig.model), most);
    rig_close(&rig);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf_model");
    TCase *tc = tcase_create("gguf_model");
    tcase_add_loop_test(tc, a_gguf_file_gives_the_bits_of_the_safetensors_it_was_made_of, 0,
                        NUM_EQUAL);
    tcase_add_loop_test(tc, divisors_of_frequencies_cost_their_rounding_alone, 0, NUM_CLOSE);
    tcase_add_loop_test(tc, blocks_give_nearly_the_logits_of_what_they_mean, 0, NUM_MADE);
    tcase_add_loop_test(tc, the_transpose_of_blocks_is_that_of_what_they_mean, 0, NUM_TYPES);
    tcase_add_loop_test(tc, neither_chunks_nor_threads_change_a_bit_of_blocks, 0, NUM_MADE);
    tcase_add_test(tc, a_mixture_takes_the_memory_of_its_file);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
