/* Families with experts or latents: what HF transformers computes, and the same bits always. */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

enum { PROMPT = 96, WRITTEN = 32, NUM_TOKENS = PROMPT + WRITTEN, MAX_VOCAB = 128 };

static const char *const checkpoints[] = {
    "mixtral_gqa_bf16", "mixtral_odd_window",    "qwen2_moe_sparse_step", "qwen2_moe_mlp_only",
    "qwen3_moe_norm",   "qwen3_moe_mlp_only",    "deepseek_v2_lite",      "deepseek_v2_groups",
    "deepseek_v3",      "deepseek_v3_half_rope",
};
enum { NUM_CHECKPOINTS = sizeof(checkpoints) / sizeof(checkpoints[0]) };

static const char *const isas[] = { "scalar", "avx2", "avx512" };
enum { NUM_ISAS = sizeof(isas) / sizeof(isas[0]) };

static const int32_t chunks[] = { 64, 17, 1 };
enum { NUM_CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };

static const int32_t blocks_a[] = { 5, 2, 11, 0, 14, 8, 9, 4 };
static const int32_t blocks_b[] = { 7, 1, 3, 12, 6, 10, 13, 15 };

static int32_t tokens[NUM_TOKENS];
static float expected[NUM_TOKENS * MAX_VOCAB];
static float found[NUM_TOKENS * MAX_VOCAB], other[NUM_TOKENS * MAX_VOCAB];

static void read_file(const char *name, const char *file, void *to, size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof(path), GOLDEN "/families/%s/%s", name, file);
    FILE *stream = fopen(path, "rb");
    ck_assert_msg(stream != NULL, "%s", path);
    ck_assert_uint_eq(fread(to, 1, bytes, stream), bytes);
    ck_assert_int_eq(fgetc(stream), EOF);
    fclose(stream);
}

/* False when this machine lacks the instruction set. */
static bool open_rig(struct rig *rig, const char *name, const char *isa, int32_t threads,
                     enum dtype kv_dtype)
{
    char dir[4096];
    struct error err = { 0 };
    snprintf(dir, sizeof(dir), GOLDEN "/families/%s", name);
    const struct rig_options options = {
        .dir = dir, .isa = isa, .num_threads = threads, .kv_dtype = kv_dtype
    };
    const int r = rig_open(rig, &options, &err);
    if (r == -ENOTSUP && isa != NULL && strcmp(isa, "scalar") != 0)
        return false;
    ck_assert_msg(r == 0, "%s: %s", name, err.message);
    read_file(name, "tokens.i32", tokens, sizeof(tokens));
    return true;
}

static double largest(const float *a, size_t num)
{
    double max = 0.0;
    for (size_t i = 0; i < num; i++)
        max = fmax(max, fabs((double)a[i]));
    return max;
}

START_TEST(logits_are_those_of_transformers)
{
    const char *name = checkpoints[_i / NUM_ISAS], *isa = isas[_i % NUM_ISAS];
    struct rig rig;
    if (!open_rig(&rig, name, isa, 2, DTYPE_F32))
        return;
    const size_t num = NUM_TOKENS * (size_t)rig.vocab_size;
    read_file(name, "logits.f32", expected, num * sizeof(float));
    rig_run(&rig, tokens, NUM_TOKENS, 48, blocks_a, found);
    for (size_t i = 0; i < num; i++)
        found[i] -= expected[i];
    const double difference = largest(found, num), scale = largest(expected, num);
    ck_assert_msg(difference <= 1e-4 * scale, "%s, %s: %g of %g", name, isa, difference, scale);
    rig_close(&rig);
}
END_TEST

START_TEST(what_follows_greedily_is_what_transformers_writes)
{
    const char *name = checkpoints[_i];
    struct rig rig;
    int32_t sequence[NUM_TOKENS];
    ck_assert(open_rig(&rig, name, NULL, 2, DTYPE_F32));
    memcpy(sequence, tokens, PROMPT * sizeof(*sequence));
    struct rig_part part = { sequence, 0, PROMPT, blocks_b };
    for (int32_t i = PROMPT; i < NUM_TOKENS; i++) {
        sequence[i] = rig_next(&rig, &part);
        ck_assert_msg(sequence[i] == tokens[i], "%s: token %d is %d, wanted %d", name, i,
                      sequence[i], tokens[i]);
        part = (struct rig_part){ sequence, i, 1, blocks_b };
    }
    rig_close(&rig);
}
END_TEST

START_TEST(neither_chunks_nor_threads_change_a_bit)
{
    const char *name = checkpoints[_i / NUM_ISAS], *isa = isas[_i % NUM_ISAS];
    struct rig rig;
    for (int32_t run = 0; run <= NUM_CHUNKS; run++) {
        if (!open_rig(&rig, name, isa, 1 + run % 3, _i % 2 ? DTYPE_F16 : DTYPE_F32))
            return;
        rig_run(&rig, tokens, NUM_TOKENS, run > 0 ? chunks[run - 1] : 80,
                run % 2 ? blocks_b : blocks_a, run > 0 ? other : found);
        if (run > 0)
            ck_assert_msg(
                memcmp(found, other, NUM_TOKENS * (size_t)rig.vocab_size * sizeof(float)) == 0,
                "%s, %s, chunks of %d, %d threads", name, isa, chunks[run - 1], 1 + run % 3);
        rig_close(&rig);
    }
}
END_TEST

START_TEST(a_sequence_is_not_changed_by_those_beside_it)
{
    struct rig rig;
    int32_t reversed[NUM_TOKENS];
    ck_assert(open_rig(&rig, checkpoints[_i], NULL, 2, DTYPE_F16));
    const size_t row = (size_t)rig.vocab_size;
    for (int32_t i = 0; i < NUM_TOKENS; i++)
        reversed[i] = tokens[NUM_TOKENS - 1 - i];
    rig_run(&rig, tokens, NUM_TOKENS, 64, blocks_a, found);
    rig_run(&rig, reversed, NUM_TOKENS, 64, blocks_b, other);
    static float together[RIG_MAX_ROWS * MAX_VOCAB];
    for (int32_t pos = 0; pos < 120; pos += 40) {
        const struct rig_part parts[] = { { reversed, pos / 2, 20, blocks_b },
                                          { tokens, pos, 40, blocks_a } };
        rig_step(&rig, parts, 2, NULL, 0, together);
        ck_assert_mem_eq(together, other + (size_t)(pos / 2) * row, 20 * row * sizeof(float));
        ck_assert_mem_eq(together + 20 * row, found + (size_t)pos * row, 40 * row * sizeof(float));
    }
    rig_close(&rig);
}
END_TEST

START_TEST(only_the_wanted_rows_get_logits)
{
    const int32_t wanted[] = { 59, 3, 59 };
    struct rig rig;
    ck_assert(open_rig(&rig, checkpoints[_i], NULL, 2, DTYPE_F32));
    const size_t row = (size_t)rig.vocab_size;
    const struct rig_part first = { tokens, 0, 60, blocks_a };
    rig_step(&rig, &first, 1, NULL, 0, found);
    rig_step(&rig, &first, 1, wanted, 3, other);
    for (size_t i = 0; i < 3; i++)
        ck_assert_mem_eq(other + i * row, found + (size_t)wanted[i] * row, row * sizeof(float));
    rig_close(&rig);
}
END_TEST

/* A golden checkpoint whose config.json has one text replaced. */
static const struct {
    const char *name, *from, *to, *sentence;
} lies[] = {
    { "mixtral_gqa_bf16", "\"num_local_experts\": 4", "\"num_local_experts\": 5",
      "block_sparse_moe.gate.weight in model.safetensors is BF16 [4][32], wanted [5][32]" },
    { "mixtral_gqa_bf16", "\"num_local_experts\": 4", "\"num_local_experts\": 3",
      "block_sparse_moe.gate.weight in model.safetensors is BF16 [4][32], wanted [3][32]" },
    { "mixtral_gqa_bf16", "\"intermediate_size\": 40", "\"intermediate_size\": 41",
      "experts.0.w1.weight in model.safetensors is BF16 [40][32], wanted [41][32]" },
    { "qwen2_moe_sparse_step", "\"decoder_sparse_step\": 2", "\"decoder_sparse_step\": 1",
      "model.layers.0.mlp.gate.weight is missing" },
    { "qwen3_moe_mlp_only", "\"attention_bias\": true", "\"attention_bias\": false",
      "wanted none of that name" },
    { "deepseek_v2_lite", "\"kv_lora_rank\": 24", "\"kv_lora_rank\": 25",
      "kv_a_proj_with_mqa.weight in model.safetensors is BF16 [32][32], wanted [33][32]" },
    { "deepseek_v2_lite", "\"v_head_dim\": 10", "\"v_head_dim\": 11",
      "kv_b_proj.weight in model.safetensors is BF16 [88][24], wanted [92][24]" },
    { "deepseek_v3", "\"first_k_dense_replace\": 1", "\"first_k_dense_replace\": 2",
      "model.layers.1.mlp.gate_proj.weight is missing" },
    { "deepseek_v3", "\"n_shared_experts\": 1", "\"n_shared_experts\": 2",
      "shared_experts.gate_proj.weight in model.safetensors is BF16 [20][32], wanted [40][32]" },
};
enum { NUM_LIES = sizeof(lies) / sizeof(lies[0]) };

static void write_lie(const char *dir, int i)
{
    char path[4200], target[4200], text[4096] = "";
    snprintf(path, sizeof(path), GOLDEN "/families/%s/config.json", lies[i].name);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, file), 0);
    fclose(file);
    const char *at = strstr(text, lies[i].from);
    ck_assert_msg(at != NULL, "%s in %s", lies[i].from, path);
    snprintf(path, sizeof(path), "%s/config.json", dir);
    file = fopen(path, "w");
    fprintf(file, "%.*s%s%s", (int)(at - text), text, lies[i].to, at + strlen(lies[i].from));
    fclose(file);
    snprintf(target, sizeof(target), GOLDEN "/families/%s/model.safetensors", lies[i].name);
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    ck_assert_int_eq(symlink(target, path), 0);
}

START_TEST(a_directory_that_lies_is_refused_by_the_tensor)
{
    char dir[] = "/tmp/tokenring-lie-XXXXXX", path[64];
    struct rig rig;
    struct error err = { 0 };
    ck_assert_ptr_nonnull(mkdtemp(dir));
    write_lie(dir, _i);
    const struct rig_options options = { .dir = dir };
    ck_assert_int_eq(rig_open(&rig, &options, &err), -EINVAL);
    ck_assert_msg(strstr(err.message, lies[_i].sentence) != NULL, "%s", err.message);
    snprintf(path, sizeof(path), "%s/config.json", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    unlink(path);
    rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("experts");
    TCase *tc = tcase_create("experts");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, logits_are_those_of_transformers, 0, NUM_CHECKPOINTS * NUM_ISAS);
    tcase_add_loop_test(tc, what_follows_greedily_is_what_transformers_writes, 0, NUM_CHECKPOINTS);
    tcase_add_loop_test(tc, neither_chunks_nor_threads_change_a_bit, 0, NUM_CHECKPOINTS * NUM_ISAS);
    tcase_add_loop_test(tc, a_sequence_is_not_changed_by_those_beside_it, 0, NUM_CHECKPOINTS);
    tcase_add_loop_test(tc, only_the_wanted_rows_get_logits, 0, NUM_CHECKPOINTS);
    tcase_add_loop_test(tc, a_directory_that_lies_is_refused_by_the_tensor, 0, NUM_LIES);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
