/*
 * test_goldens.c - what a family can be is shown by a golden: each of its tensors, each flag
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "goldens.h"
#include "worker/families/family.h"
#include "worker/model/checkpoint.h"
#include "worker/model/config.h"

static const struct family *const families[] = {
    &family_llama,     &family_mistral,     &family_qwen2,       &family_qwen3,
    &family_phi,       &family_phi3,        &family_gemma,       &family_gemma2,
    &family_olmo2,     &family_gemma3_text, &family_mixtral,     &family_qwen2_moe,
    &family_qwen3_moe, &family_deepseek_v2, &family_deepseek_v3, &family_deep,
};
enum { NUM_FAMILIES = sizeof(families) / sizeof(families[0]), MAX_ROWS = 64 };

/* Matrices that GGUF cuts in two, as the converter writes them. */
static const char *const gguf_split = GOLDEN "/gguf/families_deepseek_v2_lite.gguf";

static const struct family *read_golden(const char *dir, struct arch *arch,
                                        struct checkpoint *checkpoint)
{
    const struct family *family = NULL;
    struct error err = { 0 };
    ck_assert_msg(config_read(dir, DTYPE_F16, 16, arch, &family, NULL, &err) == 0, "%s",
                  err.message);
    ck_assert_msg(checkpoint_open(dir, checkpoint, &err) == 0, "%s", err.message);
    if (family->probe != NULL)
        ck_assert_msg(family->probe(checkpoint, arch, &err) == 0, "%s", err.message);
    return family;
}

/* --- tensors ------------------------------------------------------------------------------ */

static bool has_tensor(const struct checkpoint *checkpoint, const char *const *prefixes,
                       const char *row_name, int32_t layer)
{
    char name[256], whole[512];
    const char *number = strstr(row_name, "%d");
    if (number != NULL)
        snprintf(name, sizeof(name), "%.*s0%s", (int)(number - row_name), row_name, number + 2);
    else
        snprintf(name, sizeof(name), "%s", row_name);
    for (; *prefixes != NULL; prefixes++) {
        if (layer >= 0)
            snprintf(whole, sizeof(whole), "%slayers.%d.%s", *prefixes, layer, name);
        else
            snprintf(whole, sizeof(whole), "%s%s", *prefixes, name);
        if (checkpoint_find(checkpoint, whole) != NULL)
            return true;
    }
    return layer < 0 && checkpoint_find(checkpoint, name) != NULL;
}

static bool has_row(const struct checkpoint *checkpoint, const struct family *family,
                    const struct arch *arch, const struct weight_row *row)
{
    if (!row->in_layer)
        return has_tensor(checkpoint, family->prefixes, row->name, -1);
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        if (has_tensor(checkpoint, family->prefixes, row->name, l))
            return true;
    return false;
}

START_TEST(each_tensor_of_each_family_is_in_a_golden)
{
    const struct family *family = families[_i];
    bool seen[MAX_ROWS] = { false };
    ck_assert_int_le(family->num_rows, MAX_ROWS);
    for (int g = 0; g <= NUM_GOLDENS; g++) {
        struct checkpoint checkpoint;
        struct arch arch;
        const char *dir = g < NUM_GOLDENS ? goldens[g].dir : gguf_split;
        const struct family *its = read_golden(dir, &arch, &checkpoint);
        for (int32_t i = 0; its->rows == family->rows && i < family->num_rows; i++)
            if (its == family || dir == gguf_split)
                seen[i] |= has_row(&checkpoint, family, &arch, &family->rows[i]);
        checkpoint_close(&checkpoint);
    }
    for (int32_t i = 0; i < family->num_rows; i++)
        ck_assert_msg(seen[i] || (family == &family_deepseek_v2 &&
                                  family->rows[i].when == WHEN_ROUTER_BIAS), /* V3's alone */
                      "%s: no golden has %s", family->model_type, family->rows[i].name);
}
END_TEST

/* --- flags -------------------------------------------------------------------------------- */

enum { PROMPT = 96 };

static bool any_window(const struct arch *arch, int32_t from, int32_t to)
{
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        if (arch->layers[l].window >= from && arch->layers[l].window <= to)
            return true;
    return false;
}

static bool is_scaled(const struct arch *arch, enum rope_scaling scaling)
{
    for (int32_t i = 0; i < arch->num_ropes; i++)
        if (arch->ropes[i].scaling == scaling)
            return true;
    return false;
}

/* Positions that training has not seen. */
static bool is_beyond(const struct arch *arch, enum rope_scaling scaling)
{
    const struct rope_spec *rope = &arch->ropes[0];
    return rope->scaling == scaling && rope->original_max_position_embeddings < PROMPT &&
           arch->max_position_embeddings > PROMPT;
}

static bool any_mlp(const struct arch *arch, enum mlp_kind kind)
{
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        if (arch->layers[l].mlp == kind)
            return true;
    return false;
}

/* Windows or experts that follow no period. */
static bool is_odd(const struct arch *arch)
{
    int32_t changes = 0;
    for (int32_t l = 1; l < arch->num_hidden_layers; l++)
        changes += (arch->layers[l].window > 0) != (arch->layers[l - 1].window > 0);
    return changes > 0 && changes < arch->num_hidden_layers - 1;
}

#define FLAG(name, condition)                                                                      \
    static bool name(const struct arch *arch)                                                      \
    {                                                                                              \
        return (condition);                                                                        \
    }
FLAG(tied, arch->tie_word_embeddings)
FLAG(grouped_queries, arch->num_key_value_heads < arch->num_attention_heads)
FLAG(wide_heads, arch->num_attention_heads * arch->head_dim > arch->hidden_size)
FLAG(head_64, arch->head_dim == 64 && arch->latent.dim == 0)
FLAG(head_80, arch->head_dim == 80)
FLAG(head_96, arch->head_dim == 96)
FLAG(head_128, arch->head_dim == 128)
FLAG(head_256, arch->head_dim == 256)
FLAG(latent_192, arch->latent.nope_dim == 128 && arch->latent.rope_dim == 64)
FLAG(attention_bias, arch->attention_bias)
FLAG(mlp_bias, arch->mlp_bias)
FLAG(qk_layernorm, arch->qk_layernorm)
FLAG(qk_norm_over_heads, arch->qk_norm_over_heads)
FLAG(plain_mlp, arch->plain_mlp)
FLAG(parallel_residual, arch->parallel_residual)
FLAG(silu, arch->activation == ACTIVATION_SILU)
FLAG(gelu, arch->activation == ACTIVATION_GELU)
FLAG(gelu_tanh, arch->activation == ACTIVATION_GELU_TANH)
FLAG(attention_scale, arch->attention_scale > 0.0f)
FLAG(attention_softcap, arch->attention_softcap > 0.0f)
FLAG(logits_softcap, arch->logits_softcap > 0.0f)
FLAG(embedding_scale, arch->embedding_scale > 0.0f)
FLAG(f32, arch->dtype == DTYPE_F32)
FLAG(f16, arch->dtype == DTYPE_F16)
FLAG(bf16, arch->dtype == DTYPE_BF16)
FLAG(window_within_prompt, any_window(arch, 1, PROMPT - 1))
FLAG(window_within_block, any_window(arch, 1, 15))
FLAG(layers_without_period, is_odd(arch))
FLAG(window_in_all, any_window(arch, 1, PROMPT) && !any_window(arch, 0, 0))
FLAG(two_ropes, arch->num_ropes == 2)
FLAG(partial_rotation, arch->latent.dim == 0 && arch->ropes[0].rotary_dims < arch->head_dim)
FLAG(linear, is_scaled(arch, ROPE_SCALING_LINEAR))
FLAG(llama3_beyond, is_beyond(arch, ROPE_SCALING_LLAMA3))
FLAG(yarn_beyond, is_beyond(arch, ROPE_SCALING_YARN))
FLAG(longrope_beyond, is_beyond(arch, ROPE_SCALING_LONGROPE))
FLAG(longrope_within, is_scaled(arch, ROPE_SCALING_LONGROPE) &&
                          arch->ropes[0].original_max_position_embeddings > GOLDEN_MAX_TOKENS)
FLAG(yarn_mscale, arch->ropes[0].mscale > 0.0)
FLAG(yarn_no_truncate, arch->ropes[0].no_truncate)
FLAG(attention_factor, arch->ropes[0].attention_factor > 0.0)
FLAG(experts, any_mlp(arch, MLP_EXPERTS))
FLAG(experts_and_dense, any_mlp(arch, MLP_EXPERTS) && any_mlp(arch, MLP_DENSE))
FLAG(one_expert, any_mlp(arch, MLP_EXPERTS) && arch->moe.top_k == 1)
FLAG(softmax_normed, any_mlp(arch, MLP_EXPERTS) && arch->moe.routing.scores == MOE_SOFTMAX &&
                         arch->moe.routing.normalize)
FLAG(softmax_raw, any_mlp(arch, MLP_EXPERTS) && arch->moe.routing.scores == MOE_SOFTMAX &&
                      !arch->moe.routing.normalize)
FLAG(sigmoid_normed, any_mlp(arch, MLP_EXPERTS) && arch->moe.routing.scores == MOE_SIGMOID &&
                         arch->moe.routing.normalize)
FLAG(sigmoid_raw, any_mlp(arch, MLP_EXPERTS) && arch->moe.routing.scores == MOE_SIGMOID &&
                      !arch->moe.routing.normalize)
FLAG(expert_groups, arch->moe.routing.num_groups > arch->moe.routing.top_groups)
FLAG(scaled_experts, any_mlp(arch, MLP_EXPERTS) && arch->moe.routing.scale > 1.0f)
FLAG(shared_expert, arch->moe.shared_intermediate_size > 0)
FLAG(shared_gate, arch->moe.shared_gate)
FLAG(router_bias, arch->moe.router_bias)
FLAG(latent, arch->latent.dim > 0)
FLAG(latent_q_rank, arch->latent.q_rank > 0)
FLAG(latent_q_whole, arch->latent.dim > 0 && arch->latent.q_rank == 0)
FLAG(latent_interleaved, arch->latent.dim > 0 && arch->latent.interleaved)
FLAG(latent_halves, arch->latent.dim > 0 && !arch->latent.interleaved)
FLAG(mu_dynamics, arch->mu.kind == MU_DYNAMICS)
FLAG(mu_guidance, arch->mu.kind == MU_GUIDANCE)
FLAG(mu_highway, arch->mu.highway)
FLAG(mu_no_highway, arch->mu.kind == MU_DYNAMICS && !arch->mu.highway)
FLAG(token_experts, any_mlp(arch, MLP_TOKEN_EXPERTS))
FLAG(token_experts_without_mu, any_mlp(arch, MLP_TOKEN_EXPERTS) && arch->mu.kind == MU_NONE)
FLAG(mu_without_experts, arch->mu.kind != MU_NONE && !any_mlp(arch, MLP_TOKEN_EXPERTS))

#define ROW(name)                                                                                  \
    {                                                                                              \
#name, name                                                                                \
    }
static const struct {
    const char *name;
    bool (*holds)(const struct arch *arch);
} flags[] = {
    ROW(tied),
    ROW(grouped_queries),
    ROW(wide_heads),
    ROW(head_64),
    ROW(head_80),
    ROW(head_96),
    ROW(head_128),
    ROW(head_256),
    ROW(latent_192),
    ROW(attention_bias),
    ROW(mlp_bias),
    ROW(qk_layernorm),
    ROW(qk_norm_over_heads),
    ROW(plain_mlp),
    ROW(parallel_residual),
    ROW(silu),
    ROW(gelu),
    ROW(gelu_tanh),
    ROW(attention_scale),
    ROW(attention_softcap),
    ROW(logits_softcap),
    ROW(embedding_scale),
    ROW(f32),
    ROW(f16),
    ROW(bf16),
    ROW(window_within_prompt),
    ROW(window_within_block),
    ROW(layers_without_period),
    ROW(window_in_all),
    ROW(two_ropes),
    ROW(partial_rotation),
    ROW(linear),
    ROW(llama3_beyond),
    ROW(yarn_beyond),
    ROW(longrope_beyond),
    ROW(longrope_within),
    ROW(yarn_mscale),
    ROW(yarn_no_truncate),
    ROW(attention_factor),
    ROW(experts),
    ROW(experts_and_dense),
    ROW(one_expert),
    ROW(softmax_normed),
    ROW(softmax_raw),
    ROW(sigmoid_normed),
    ROW(sigmoid_raw),
    ROW(expert_groups),
    ROW(scaled_experts),
    ROW(shared_expert),
    ROW(shared_gate),
    ROW(router_bias),
    ROW(latent),
    ROW(latent_q_rank),
    ROW(latent_q_whole),
    ROW(latent_interleaved),
    ROW(latent_halves),
    ROW(mu_dynamics),
    ROW(mu_guidance),
    ROW(mu_highway),
    ROW(mu_no_highway),
    ROW(token_experts),
    ROW(token_experts_without_mu),
    ROW(mu_without_experts),
};
enum { NUM_FLAGS = sizeof(flags) / sizeof(flags[0]) };

START_TEST(each_flag_is_set_in_a_golden_and_not_in_another)
{
    int32_t num[NUM_FLAGS] = { 0 };
    for (int g = 0; g < NUM_GOLDENS; g++) {
        struct checkpoint checkpoint;
        struct arch arch;
        read_golden(goldens[g].dir, &arch, &checkpoint);
        checkpoint_close(&checkpoint);
        for (int f = 0; f < NUM_FLAGS; f++)
            num[f] += flags[f].holds(&arch);
    }
    for (int f = 0; f < NUM_FLAGS; f++)
        ck_assert_msg(num[f] > 0 && num[f] < NUM_GOLDENS, "%s holds in %d of %d goldens",
                      flags[f].name, num[f], NUM_GOLDENS);
}
END_TEST

/* Of each family two at least, with a prompt and what follows it. */
START_TEST(each_family_has_goldens_that_write)
{
    int32_t num = 0, tied = 0;
    for (int g = 0; g < NUM_GOLDENS; g++) {
        struct checkpoint checkpoint;
        struct arch arch;
        const bool is_of_it = read_golden(goldens[g].dir, &arch, &checkpoint) == families[_i];
        checkpoint_close(&checkpoint);
        num += is_of_it && goldens[g].num_prompt == PROMPT;
        tied += is_of_it && arch.tie_word_embeddings;
    }
    ck_assert_msg(num >= 2, "%s has %d goldens", families[_i]->model_type, num);
    /* Phi's head has a bias and is never the embedding. */
    ck_assert_msg(tied > 0 || families[_i] == &family_phi, "%s has no golden that is tied",
                  families[_i]->model_type);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("goldens");
    TCase *tc = tcase_create("goldens");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, each_tensor_of_each_family_is_in_a_golden, 0, NUM_FAMILIES);
    tcase_add_test(tc, each_flag_is_set_in_a_golden_and_not_in_another);
    tcase_add_loop_test(tc, each_family_has_goldens_that_write, 0, NUM_FAMILIES);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
