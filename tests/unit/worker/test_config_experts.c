/* config.json of families with experts or latents: what is read, what is refused and how. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/families/family.h"
#include "worker/model/config.h"

#define SIZES                                                                                      \
    "\"vocab_size\": 100, \"hidden_size\": 64, \"intermediate_size\": 96,"                         \
    " \"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_key_value_heads\": 2"
static const char mixtral[] = "{\"model_type\": \"mixtral\", " SIZES "}";
static const char qwen2[] = "{\"model_type\": \"qwen2_moe\", " SIZES ", \"num_experts\": 6,"
                            " \"moe_intermediate_size\": 24,"
                            " \"shared_expert_intermediate_size\": 30}";
static const char qwen3[] = "{\"model_type\": \"qwen3_moe\", " SIZES ", \"num_experts\": 16,"
                            " \"head_dim\": 32, \"moe_intermediate_size\": 24}";
#define LATENTS                                                                                    \
    ", \"kv_lora_rank\": 32, \"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8,"                   \
    " \"v_head_dim\": 12, \"n_routed_experts\": 8, \"num_experts_per_tok\": 2,"                    \
    " \"moe_intermediate_size\": 20, \"n_shared_experts\": 2"
static const char v2[] = "{\"model_type\": \"deepseek_v2\", " SIZES LATENTS
                         ", \"q_lora_rank\": null, \"norm_topk_prob\": false}";
static const char v3[] = "{\"model_type\": \"deepseek_v3\", " SIZES LATENTS
                         ", \"q_lora_rank\": 24, \"n_group\": 4, \"topk_group\": 2,"
                         " \"routed_scaling_factor\": 2.5}";

static struct arch arch;
static struct error err;

/* The text with the keys of `patch` set over it. */
static int parse(const char *text, const char *patch)
{
    json_t *config = json_loads(text, 0, NULL), *over = json_loads(patch, 0, NULL);
    ck_assert_msg(config != NULL && over != NULL, "%s", patch);
    json_object_update(config, over);
    char *merged = json_dumps(config, 0);
    err = (struct error){ 0 };
    const int r = config_parse(merged, strlen(merged), DTYPE_F16, 16, &arch, NULL, &err);
    free(merged);
    json_decref(config);
    json_decref(over);
    return r;
}

START_TEST(experts_stand_where_the_configuration_puts_them)
{
    ck_assert_int_eq(parse(mixtral, "{}"), 0);
    ck_assert_int_eq(arch.moe.num_experts, 8);
    ck_assert_int_eq(arch.moe.top_k, 2);
    ck_assert_int_eq(arch.moe.intermediate_size, 96);
    ck_assert(arch.moe.routing.normalize && arch.layers[0].mlp == MLP_EXPERTS);

    ck_assert_int_eq(parse(qwen2, "{\"decoder_sparse_step\": 2, \"mlp_only_layers\": [3]}"), 0);
    for (int32_t l = 0; l < 4; l++)
        ck_assert_int_eq(arch.layers[l].mlp, l == 1 ? MLP_EXPERTS : MLP_DENSE);
    ck_assert(arch.moe.shared_gate && arch.attention_bias && !arch.moe.routing.normalize);
    ck_assert_int_eq(arch.moe.shared_intermediate_size, 30);

    ck_assert_int_eq(parse(qwen3, "{\"norm_topk_prob\": true}"), 0);
    ck_assert(arch.moe.routing.normalize && !arch.attention_bias);
    ck_assert_int_eq(arch.moe.top_k, 8);

    ck_assert_int_eq(parse(v3, "{}"), 0);
    ck_assert_int_eq(arch.layers[2].mlp, MLP_DENSE);
    ck_assert_int_eq(arch.layers[3].mlp, MLP_EXPERTS);
    ck_assert_int_eq(arch.moe.shared_intermediate_size, 40);
    ck_assert(arch.moe.routing.scores == MOE_SIGMOID && arch.moe.routing.group_top == 2);
    ck_assert(arch.moe.routing.normalize && arch.moe.router_bias);
}
END_TEST

START_TEST(the_pool_holds_a_latent_and_what_is_rotated)
{
    ck_assert_int_eq(parse(v3, "{\"head_dim\": 64, \"num_key_value_heads\": 4}"), 0);
    ck_assert_int_eq(arch.kv_block.num_kv_heads, 1);
    ck_assert_int_eq(arch.kv_block.head_dim, 32 + 8);
    ck_assert_int_eq(arch.kv_block.latent_dim, 32);
    ck_assert_uint_eq(kv_block_bytes(&arch.kv_block), (size_t)4 * 40 * 16 * 2);
    ck_assert_int_eq(arch.ropes[0].rotary_dims, 8);
    ck_assert(arch.latent.interleaved && arch.latent.q_rank == 24);
    ck_assert_int_eq(parse(v3, "{\"rope_interleave\": false}"), 0);
    ck_assert(!arch.latent.interleaved);
}
END_TEST

/* The releases' numbers. */
START_TEST(yarn_widens_the_scale_of_attention)
{
    ck_assert_int_eq(parse(v3, "{\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64,"
                               " \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40,"
                               " \"original_max_position_embeddings\": 4096, \"beta_fast\": 32,"
                               " \"beta_slow\": 1, \"mscale\": 1.0, \"mscale_all_dim\": 1.0},"
                               " \"max_position_embeddings\": 163840}"),
                     0);
    ck_assert_double_eq_tol((double)arch.attention_scale, 0.1352337789, 1e-7);
    ck_assert_int_eq(parse(v2, "{\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64,"
                               " \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40,"
                               " \"original_max_position_embeddings\": 4096, \"beta_fast\": 32,"
                               " \"beta_slow\": 1, \"mscale\": 0.707, \"mscale_all_dim\": 0.707},"
                               " \"max_position_embeddings\": 163840}"),
                     0);
    ck_assert_double_eq_tol((double)arch.attention_scale, 0.1147213867, 1e-7);
    ck_assert_int_eq(parse(v3, "{\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64}"), 0);
    ck_assert_double_eq_tol((double)arch.attention_scale, 0.0721687836, 1e-8);
}
END_TEST

static const struct {
    const char *text, *patch;
    int error;
    const char *sentence;
} refusals[] = {
    { mixtral, "{\"num_experts_per_tok\": 9}", -EINVAL,
      "num_experts_per_tok is 9, wanted at most" },
    { mixtral, "{\"num_local_experts\": 0}", -EINVAL, "num_local_experts is 0" },
    { mixtral, "{\"num_local_experts\": 5000}", -EINVAL, "num_local_experts is 5000" },
    { mixtral, "{\"hidden_act\": \"relu\"}", -ENOTSUP, "hidden_act is \"relu\"" },
    { qwen2, "{\"num_experts\": null}", -EINVAL, "num_experts is missing" },
    { qwen2, "{\"moe_intermediate_size\": null}", -EINVAL, "moe_intermediate_size is missing" },
    { qwen2, "{\"shared_expert_intermediate_size\": 0}", -EINVAL,
      "shared_expert_intermediate_size is 0" },
    { qwen2, "{\"decoder_sparse_step\": 0}", -EINVAL, "decoder_sparse_step is 0" },
    { qwen3, "{\"mlp_only_layers\": [4]}", -EINVAL, "mlp_only_layers[0] is no layer" },
    { qwen3, "{\"mlp_only_layers\": 1}", -EINVAL, "mlp_only_layers is not a list" },
    { qwen3, "{\"norm_topk_prob\": 1}", -EINVAL, "norm_topk_prob is neither" },
    { v2, "{\"topk_method\": \"noaux_tc\"}", -ENOTSUP,
      "topk_method is \"noaux_tc\", supported is \"greedy\" or \"group_limited_greedy\"" },
    { v2, "{\"scoring_func\": \"sigmoid\"}", -ENOTSUP, "scoring_func is \"sigmoid\"" },
    { v2, "{\"topk_method\": \"group_limited_greedy\", \"n_group\": 3}", -EINVAL,
      "n_group is 3, wanted a divisor of the 8" },
    { v2, "{\"mlp_bias\": true}", -ENOTSUP, "mlp_bias is true" },
    { v2, "{\"kv_lora_rank\": null}", -EINVAL, "kv_lora_rank is missing" },
    { v2, "{\"kv_lora_rank\": 569}", -ENOTSUP, "are 569 and 8, supported are 576 together" },
    { v2, "{\"qk_rope_head_dim\": 7}", -EINVAL, "qk_rope_head_dim is 7, wanted an even number" },
    { v2, "{\"n_shared_experts\": 1000, \"moe_intermediate_size\": 10000}", -EINVAL,
      "n_shared_experts is 1000" },
    { v3, "{\"topk_group\": 5}", -EINVAL, "topk_group is 5, wanted at most n_group 4" },
    { v3, "{\"num_experts_per_tok\": 5}", -EINVAL,
      "num_experts_per_tok is 5, wanted at most the 4" },
    { v3, "{\"scoring_func\": \"softmax\"}", -ENOTSUP,
      "scoring_func is \"softmax\", supported is \"sigmoid\"" },
    { v3, "{\"topk_method\": \"greedy\"}", -ENOTSUP, "topk_method is \"greedy\"" },
    { v3, "{\"routed_scaling_factor\": -1}", -EINVAL, "routed_scaling_factor is -1" },
    { v3, "{\"quantization_config\": {\"quant_method\": \"guesswork\"}}", -ENOTSUP,
      "\"guesswork\"" },
};
enum { NUM_REFUSALS = sizeof(refusals) / sizeof(refusals[0]) };

START_TEST(what_cannot_be_is_refused_by_name)
{
    const int r = parse(refusals[_i].text, refusals[_i].patch);
    ck_assert_msg(r == refusals[_i].error, "%s: %d %s", refusals[_i].patch, r, err.message);
    ck_assert_msg(strstr(err.message, refusals[_i].sentence) != NULL, "%s: %s", refusals[_i].patch,
                  err.message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_experts");
    TCase *tc = tcase_create("config_experts");
    tcase_add_test(tc, experts_stand_where_the_configuration_puts_them);
    tcase_add_test(tc, the_pool_holds_a_latent_and_what_is_rotated);
    tcase_add_test(tc, yarn_widens_the_scale_of_attention);
    tcase_add_loop_test(tc, what_cannot_be_is_refused_by_name, 0, NUM_REFUSALS);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
