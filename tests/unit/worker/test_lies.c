/* Directories whose config.json describes another model than their tensors hold. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

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
    Suite *suite = suite_create("lies");
    TCase *tc = tcase_create("lies");
    tcase_add_loop_test(tc, a_directory_that_lies_is_refused_by_the_tensor, 0, NUM_LIES);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
