#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "rig.h"

/* A checkpoint copied to a folder of its own, with one text replaced in one of its files. */
static const char *source;
static char folder[64], config_path[96], weights_path[96];
static struct rig rig;
static struct error err;

static void write_file(const char *path, const char *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

/* `from` is replaced by `to` wherever it stands; NULL: nothing is. */
static void copy_file(const char *name, const char *to_path, const char *from, const char *to)
{
    char path[4096], *bytes;
    size_t len;
    const bool is_made = strncmp(source, "made/", 5) == 0;
    snprintf(path, sizeof(path), "%s/%s/%s", is_made ? GOLDEN_MADE_DIR : GOLDEN,
             is_made ? source + 5 : source, name);
    ck_assert_int_eq(file_read(path, 1 << 20, &bytes, &len, &err), 0);
    char *at = from != NULL ? memmem(bytes, len, from, strlen(from)) : NULL;
    ck_assert_msg(from == NULL || at != NULL, "%s is not in %s", from, name);
    for (; at != NULL; at = memmem(at, len - (size_t)(at - bytes), from, strlen(from))) {
        ck_assert_uint_eq(strlen(from), strlen(to));
        memcpy(at, to, strlen(to));
    }
    write_file(to_path, bytes, len);
    free(bytes);
}

static void setup(void)
{
    source = "llama/gqa_bf16_llama3";
    snprintf(folder, sizeof(folder), "/tmp/test_weights_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(config_path, sizeof(config_path), "%s/config.json", folder);
    snprintf(weights_path, sizeof(weights_path), "%s/model.safetensors", folder);
    copy_file("config.json", config_path, NULL, NULL);
    copy_file("model.safetensors", weights_path, NULL, NULL);
    err = (struct error){ 0 };
}

static void teardown(void)
{
    rig_close(&rig);
    unlink(config_path);
    unlink(weights_path);
    rmdir(folder);
}

static int open_rig(void)
{
    const struct rig_options options = { .dir = folder };
    return rig_open(&rig, &options, &err);
}

static const struct {
    const char *file, *from, *to;
    int result;
    const char *message;
} refused[] = {
    { "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", -EINVAL,
      "tensor model.layers.3.input_layernorm.weight is missing, wanted by model_type llama" },
    { "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2", -EINVAL,
      "tensor model.layers.2.input_layernorm.weight in model.safetensors is BF16 [64], wanted none "
      "of that name with this config.json" },
    { "config.json", "\"intermediate_size\": 96", "\"intermediate_size\": 80", -EINVAL,
      "tensor model.layers.0.mlp.gate_proj.weight in model.safetensors is BF16 [96][64], wanted "
      "[80][64]" },
    { "config.json", "\"hidden_size\": 64", "\"hidden_size\": 56", -EINVAL,
      "tensor model.embed_tokens.weight in model.safetensors is BF16 [128][64], wanted [128][56]" },
    { "config.json", "\"vocab_size\": 128", "\"vocab_size\": 129", -EINVAL,
      "tensor model.embed_tokens.weight in model.safetensors is BF16 [128][64], wanted [129][64]" },
    { "config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", -EINVAL,
      "tensor model.layers.0.self_attn.k_proj.weight in model.safetensors is BF16 [32][64], wanted "
      "[64][64]" },
    { "model.safetensors", "1.mlp.up_proj.weight", "1.mlp.um_proj.weight", -EINVAL,
      "tensor model.layers.1.mlp.up_proj.weight is missing, wanted by model_type llama" },
    { "model.safetensors", "\"BF16\"", "\"I16\" ", -ENOTSUP,
      "tensor model.embed_tokens.weight in model.safetensors is I16 [128][64], supported are F32, "
      "F16, BF16" },
    { "model.safetensors", "[128,64]", "[64,128]", -EINVAL,
      "tensor model.embed_tokens.weight in model.safetensors is BF16 [64][128], wanted [128][64]" },
    { "model.safetensors", "[128,64]", "[8192]  ", -EINVAL,
      "tensor model.embed_tokens.weight in model.safetensors is BF16 [8192], wanted [128][64]" },
};

START_TEST(weights_that_do_not_fit_the_configuration_are_refused)
{
    const bool config = strcmp(refused[_i].file, "config.json") == 0;
    copy_file(refused[_i].file, config ? config_path : weights_path, refused[_i].from,
              refused[_i].to);

    ck_assert_int_eq(open_rig(), refused[_i].result);
    ck_assert_str_eq(err.message, refused[_i].message);
}
END_TEST

static const struct {
    const char *source, *file, *from, *to, *message;
} refused_of_families[] = {
    { "families/phi3_long", "config.json", "\"num_key_value_heads\": 2",
      "\"num_key_value_heads\": 4",
      "tensor model.layers.0.self_attn.qkv_proj.weight in model.safetensors is BF16 [128][64], "
      "wanted [192][64]" },
    { "families/phi3_long", "config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 60",
      "tensor model.layers.0.mlp.gate_up_proj.weight in model.safetensors is BF16 [128][64], "
      "wanted "
      "[120][64]" },
    { "families/qwen3_linear", "model.safetensors", "1.self_attn.q_norm.", "1.self_attn.q_morm.",
      "tensor model.layers.1.self_attn.q_norm.weight is missing, wanted by model_type qwen3" },
    { "families/qwen2_window", "model.safetensors", "0.self_attn.q_proj.bias",
      "0.self_attn.o_proj.bias",
      "tensor model.layers.0.self_attn.q_proj.bias is missing, wanted by model_type qwen2" },
    { "made/phi_partial", "model.safetensors", "lm_head.bias", "lm_head.bios",
      "tensor lm_head.bias is missing, wanted by model_type phi" },
    { "made/phi_qk_layernorm", "config.json", "\"qk_layernorm\": true", "\"qk_layernorm\": null",
      "tensor model.layers.0.self_attn.k_layernorm.bias in model.safetensors is F32 [12], wanted "
      "none of that name with this config.json" },
    { "made/gemma2_caps", "model.safetensors", "2.pre_feedforward_layernorm",
      "2.pri_feedforward_layernorm",
      "tensor model.layers.2.pre_feedforward_layernorm.weight is missing, wanted by model_type "
      "gemma2" },
    { "families/gemma3_wrapped", "model.safetensors", "model.vision_tower.", "model.visual_tower.",
      "tensor model.visual_tower.embeddings.weight in model.safetensors is F32 [2][3], wanted none "
      "of that name with this config.json" },
    { "families/olmo2_gqa", "config.json", "\"num_key_value_heads\": 2",
      "\"num_key_value_heads\": 3",
      "tensor model.layers.0.self_attn.k_proj.weight in model.safetensors is BF16 [16][48], wanted "
      "[24][48]" },
};

START_TEST(weights_that_are_not_a_familys_are_refused)
{
    const bool config = strcmp(refused_of_families[_i].file, "config.json") == 0;
    const char *from = refused_of_families[_i].from, *to = refused_of_families[_i].to;
    source = refused_of_families[_i].source;
    copy_file("config.json", config_path, config ? from : NULL, to);
    copy_file("model.safetensors", weights_path, config ? NULL : from, to);
    ck_assert_int_eq(open_rig(), -EINVAL);
    ck_assert_str_eq(err.message, refused_of_families[_i].message);
}
END_TEST

/* One more tensor, without values, at the end of the weights. */
static void add_tensor(const char *name)
{
    static char bytes[1 << 19];
    char *whole;
    size_t len;
    uint64_t header;
    ck_assert_int_eq(file_read(weights_path, sizeof(bytes) / 2, &whole, &len, &err), 0);
    memcpy(&header, whole, sizeof(header));
    const uint64_t data = len - 8 - header;
    char *last = memrchr(whole + 8, '}', header);
    const int head = (int)(last - (whole + 8));
    const int made =
        snprintf(bytes + 8, sizeof(bytes) / 2,
                 "%.*s,\"%s\":{\"dtype\":\"F32\",\"shape\":[0],"
                 "\"data_offsets\":[%llu,%llu]}}",
                 head, whole + 8, name, (unsigned long long)data, (unsigned long long)data);
    const uint64_t longer = (uint64_t)made;
    memcpy(bytes, &longer, sizeof(longer));
    memcpy(bytes + 8 + longer, whole + 8 + header, data);
    write_file(weights_path, bytes, 8 + longer + data);
    free(whole);
}

START_TEST(an_unknown_tensor_is_refused_and_a_known_leftover_passed_over)
{
    add_tensor("model.layers.0.self_attn.rotary_emb.inv_freq");
    add_tensor("lm_head.weight"); /* tied: the embedding serves */
    ck_assert_int_eq(open_rig(), 0);
    rig_close(&rig);

    add_tensor("model.layers.0.self_attn.q_proj.bias"); /* attention_bias is not set */
    ck_assert_int_eq(open_rig(), -EINVAL);
    ck_assert_str_eq(err.message, "tensor model.layers.0.self_attn.q_proj.bias in "
                                  "model.safetensors is F32 [0], wanted none of that name with "
                                  "this config.json");
}
END_TEST

START_TEST(a_head_that_is_absent_is_tied)
{
    copy_file("config.json", config_path, "\"tie_word_embeddings\": true",
              "\"tie_word_embeddings\":false");
    ck_assert_int_eq(open_rig(), 0);
}
END_TEST

START_TEST(a_file_that_lost_its_end_is_refused)
{
    struct stat info;
    ck_assert_int_eq(stat(weights_path, &info), 0);
    ck_assert_int_eq(truncate(weights_path, info.st_size - 2), 0);

    ck_assert_int_eq(open_rig(), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "model.safetensors: tensor "));
}
END_TEST

START_TEST(a_context_longer_than_the_model_allows_is_refused)
{
    const struct rig_options options = { .dir = folder, .max_model_len = 257 };

    ck_assert_int_eq(rig_open(&rig, &options, &err), -EINVAL);
    ck_assert_str_eq(err.param, "max_model_len");
    ck_assert_ptr_nonnull(strstr(err.message, "256"));
}
END_TEST

START_TEST(the_identity_follows_config_and_files)
{
    ck_assert_int_eq(open_rig(), 0);
    const uint64_t identity = model_identity(rig.model);
    rig_close(&rig);
    ck_assert_int_eq(open_rig(), 0);
    ck_assert_uint_eq(model_identity(rig.model), identity);
    rig_close(&rig);

    const struct timespec times[] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    ck_assert_int_eq(utimensat(AT_FDCWD, weights_path, times, 0), 0);
    ck_assert_int_eq(open_rig(), 0);
    const uint64_t touched = model_identity(rig.model);
    ck_assert_uint_ne(touched, identity);
    rig_close(&rig);

    copy_file("config.json", config_path, "\"rope_theta\": 20000.0", "\"rope_theta\": 20001.0");
    ck_assert_int_eq(open_rig(), 0);
    ck_assert_uint_ne(model_identity(rig.model), touched);
}
END_TEST

START_TEST(progress_ends_at_the_total)
{
    _Atomic uint64_t progress = 0, total = 0;
    struct model *model;
    ck_assert_int_eq(open_rig(), 0);
    const struct model_options options = { .dir = folder,
                                           .kv_dtype = DTYPE_F16,
                                           .block_size = 16,
                                           .max_rows = 8,
                                           .max_logits = 8,
                                           .progress_bytes = &progress,
                                           .total_bytes = &total };

    ck_assert_int_eq(model_open(rig.backend, rig.device, &options, &model, &err), 0);
    ck_assert_uint_eq(atomic_load(&progress), atomic_load(&total));
    /* 128 x 64 embedding; per layer q, o, k, v, gate, up, down and two norms; the last norm; bf16
     */
    const uint64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64 + 2 * 64;
    ck_assert_uint_eq(atomic_load(&total), 2 * (128 * 64 + 3 * layer + 64));
    ck_assert_int_eq(model_max_len(model), 256);
    ck_assert_uint_ge(model_weight_bytes(model), atomic_load(&total));
    model_close(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights");
    TCase *tc = tcase_create("weights");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, weights_that_do_not_fit_the_configuration_are_refused, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_loop_test(tc, weights_that_are_not_a_familys_are_refused, 0,
                        sizeof(refused_of_families) / sizeof(refused_of_families[0]));
    tcase_add_test(tc, an_unknown_tensor_is_refused_and_a_known_leftover_passed_over);
    tcase_add_test(tc, a_head_that_is_absent_is_tied);
    tcase_add_test(tc, a_file_that_lost_its_end_is_refused);
    tcase_add_test(tc, a_context_longer_than_the_model_allows_is_refused);
    tcase_add_test(tc, the_identity_follows_config_and_files);
    tcase_add_test(tc, progress_ends_at_the_total);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
