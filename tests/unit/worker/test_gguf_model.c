/* The same model as GGUF and as safetensors: equal bits of logits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "tests/unit/runner.h"

enum { NUM_TOKENS = 64, MAX_VOCAB = 128 };

static const int32_t blocks[] = { 5, 2, 11, 0 };
static int32_t tokens[NUM_TOKENS];
static float of_gguf[RIG_MAX_ROWS * MAX_VOCAB], of_safetensors[RIG_MAX_ROWS * MAX_VOCAB];

/* Returns the size of the vocabulary. */
static int32_t run(const char *path, float *logits)
{
    struct rig rig;
    struct error err = { 0 };
    const struct rig_options options = { .dir = path, .kv_dtype = DTYPE_F32 };
    ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s: %s", path, err.message);
    const int32_t vocab_size = rig.vocab_size;
    rig_run(&rig, tokens, NUM_TOKENS, 16, blocks, logits);
    rig_close(&rig);
    return vocab_size;
}

static size_t run_both(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), GOLDEN "/llama/%s/tokens.i32", name);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(tokens, sizeof(int32_t), NUM_TOKENS, file), NUM_TOKENS);
    fclose(file);
    snprintf(path, sizeof(path), GOLDEN "/llama/%s", name);
    const int32_t vocab_size = run(path, of_safetensors);
    snprintf(path, sizeof(path), GOLDEN "/gguf/llama_%s.gguf", name);
    ck_assert_int_eq(run(path, of_gguf), vocab_size);
    return NUM_TOKENS * (size_t)vocab_size;
}

/* Heads of q and k are in order again, their biases too; a linear scaling; f32, f16 and bf16. */
START_TEST(a_gguf_file_gives_the_bits_of_the_safetensors_it_was_made_of)
{
    static const char *const names[] = { "gqa_mixed", "mqa_f16_biases" };
    const size_t num = run_both(names[_i]);
    ck_assert_mem_eq(of_gguf, of_safetensors, num * sizeof(float));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf_model");
    TCase *tc = tcase_create("gguf_model");
    tcase_add_loop_test(tc, a_gguf_file_gives_the_bits_of_the_safetensors_it_was_made_of, 0, 2);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
