/* Cases: what they are compared with, in words, and of chance. */
#include "law1.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char made_path[64] = "/";

/* The first two are those of every test, the last is none of the table's. */
const struct law1_model law1_models[] = {
    { RINGLET, 320 },
    { GOLDEN "/llama/mqa_f16_biases", 256 },
    { GOLDEN "/llama/gqa_bf16_llama3", 256 },
    { GOLDEN "/llama/gqa_mixed", 256 },
    { GOLDEN "/llama/mha_f32_sharded", 256 },
    { GOLDEN "/gguf/llama_mqa_f16_biases.gguf", 256 },
    { GOLDEN_MADE_DIR "/deepseek_v2_groups", 256 },
    { GOLDEN "/families/deepseek_v2_lite", 256 },
    { GOLDEN "/families/deepseek_v3", 256 },
    { GOLDEN_MADE_DIR "/deepseek_v3_half_rope", 256 },
    { GOLDEN_MADE_DIR "/gemma2_caps", 256 },
    { GOLDEN_MADE_DIR "/gemma2_layer_types", 256 },
    { GOLDEN "/families/gemma3_two_ropes", 256 },
    { GOLDEN "/families/gemma3_wrapped", 256 },
    { GOLDEN "/families/gemma_bias", 256 },
    { GOLDEN "/families/gemma_mqa", 256 },
    { GOLDEN "/families/mistral_window", 256 },
    { GOLDEN "/families/mistral_wrapped", 256 },
    { GOLDEN "/families/mixtral_gqa_bf16", 256 },
    { GOLDEN_MADE_DIR "/mixtral_odd_window", 256 },
    { GOLDEN_MADE_DIR "/olmo2_bias", 256 },
    { GOLDEN "/families/olmo2_gqa", 256 },
    { GOLDEN "/families/phi3_long", 256 },
    { GOLDEN "/families/phi3_short", 320 },
    { GOLDEN_MADE_DIR "/phi_partial", 256 },
    { GOLDEN_MADE_DIR "/phi_qk_layernorm", 256 },
    { GOLDEN "/families/qwen2_moe_mlp_only", 256 },
    { GOLDEN "/families/qwen2_moe_sparse_step", 256 },
    { GOLDEN "/families/qwen2_window", 256 },
    { GOLDEN "/families/qwen2_yarn", 256 },
    { GOLDEN_MADE_DIR "/qwen3_layer_types", 256 },
    { GOLDEN "/families/qwen3_linear", 256 },
    { GOLDEN "/families/qwen3_moe_mlp_only", 256 },
    { GOLDEN "/families/qwen3_moe_norm", 256 },
    { GOLDEN_MADE_DIR "/deep_a", 256 },
    { GOLDEN_MADE_DIR "/deep_a_dense_window", 256 },
    { GOLDEN_MADE_DIR "/deep_a_early", 256 },
    { GOLDEN_MADE_DIR "/deep_a_first", 256 },
    { GOLDEN_MADE_DIR "/deep_a_mu_to_qk", 256 },
    { GOLDEN_MADE_DIR "/deep_b", 256 },
    { GOLDEN_MADE_DIR "/deep_b_alone", 256 },
    { GOLDEN_MADE_DIR "/deep_b_dense", 256 },
    { GOLDEN_MADE_DIR "/llama_yarn", 256 },
    { GOLDEN_MADE_DIR "/llama_tied", 256 },
    { GOLDEN_MADE_DIR "/mistral_tied_yarn", 256 },
    { GOLDEN_MADE_DIR "/qwen2_layer_types", 256 },
    { GOLDEN_MADE_DIR "/qwen3_window", 256 },
    { GOLDEN_MADE_DIR "/phi_gqa", 256 },
    { GOLDEN_MADE_DIR "/phi3_window", 256 },
    { GOLDEN_MADE_DIR "/phi3_beyond", 256 },
    { GOLDEN_MADE_DIR "/gemma_linear", 256 },
    { GOLDEN_MADE_DIR "/gemma2_bias", 256 },
    { GOLDEN_MADE_DIR "/gemma3_caps", 256 },
    { GOLDEN_MADE_DIR "/olmo2_tied", 256 },
    { GOLDEN_MADE_DIR "/mixtral_one", 256 },
    { GOLDEN_MADE_DIR "/qwen2_moe_window", 256 },
    { GOLDEN_MADE_DIR "/qwen2_moe_layer_types", 256 },
    { GOLDEN_MADE_DIR "/qwen3_moe_window", 256 },
    { GOLDEN_MADE_DIR "/deepseek_v2_normed", 256 },
    { GOLDEN_MADE_DIR "/deepseek_v2_wide", 256 },
    { GOLDEN_MADE_DIR "/deepseek_v3_raw", 256 },
    { GOLDEN "/quantized/fp8_tensor", 256 },
    { GOLDEN "/quantized/fp8_block_128", 256 },
    { GOLDEN "/quantized/fp8_fbgemm", 256 },
    { GOLDEN "/quantized/ct_fp8_channel", 256 },
    { GOLDEN "/quantized/ct_int8", 256 },
    { GOLDEN "/quantized/ct_int4_group", 256 },
    { GOLDEN "/quantized/ct_int4_order", 256 },
    { GOLDEN "/quantized/gptq_128", 256 },
    { GOLDEN "/quantized/gptq_order", 256 },
    { GOLDEN "/quantized/gptq_v2_8bit", 256 },
    { GOLDEN "/quantized/awq_32", 256 },
    { GOLDEN "/quantized/mixtral_awq", 256 },
    { GOLDEN "/quantized/deepseek_fp8", 256 },
    { GOLDEN "/quantized/gptq_orders_apart", 256 },
    { made_path, 256 },
};
enum { MADE = sizeof(law1_models) / sizeof(law1_models[0]) - 1, NUM_MODELS = MADE };
const int32_t law1_num_models = NUM_MODELS;

const enum dtype law1_kv_types[LAW1_NUM_KV_TYPES] = { DTYPE_F16, DTYPE_F32, DTYPE_F8_E4M3,
                                                      DTYPE_Q8_0, DTYPE_BF16 };

int32_t law1_model_named(const char *name)
{
    int32_t i = 0;
    while (i < NUM_MODELS && strcmp(strrchr(law1_models[i].dir, '/') + 1, name) != 0)
        i++;
    ck_assert_int_lt(i, NUM_MODELS);
    return i;
}

/* --- reference ---------------------------------------------------------------------------- */

static struct reference {
    bool is_known[LAW1_NUM_REQUESTS];
    struct law1_answer *answers;
} references[MADE + 1][LAW1_NUM_KV_TYPES][1 + CREW_MAX_RANKS];

static struct reference *reference_of(const struct law1_case *c)
{
    int type = 0;
    while (law1_kv_types[type] != c->kv_dtype)
        type++;
    return &references[c->model][type][c->num_ranks];
}

int32_t law1_model_made(const char *path)
{
    ck_assert_uint_lt(strlen(path), sizeof(made_path));
    strcpy(made_path, path);
    for (int t = 0; t < LAW1_NUM_KV_TYPES; t++)
        for (int r = 0; r <= CREW_MAX_RANKS; r++)
            memset(references[MADE][t][r].is_known, 0, sizeof(references[MADE][t][r].is_known));
    return MADE;
}

struct law1_case law1_usual(int32_t model, enum dtype kv_dtype, int32_t num_ranks)
{
    return (struct law1_case){ .model = model,
                               .kv_dtype = kv_dtype,
                               .num_ranks = num_ranks,
                               .num = LAW1_NUM_REQUESTS,
                               .batch = 1,
                               .chunk = 512,
                               .num_seqs = 64,
                               .num_threads = 1,
                               .is_watched = true };
}

static void compute(const struct law1_case *c, struct reference *reference)
{
    static struct law1_answer answers[LAW1_NUM_REQUESTS];
    law1_answer(c, answers);
    for (int32_t i = c->first; i < c->first + c->num; i++) {
        reference->answers[i] = answers[i];
        reference->is_known[i] = true;
    }
}

void law1_prepare(const struct law1_case *c)
{
    struct reference *reference = reference_of(c);
    bool is_wanted[LAW1_NUM_REQUESTS] = { false };
    if (reference->answers == NULL)
        reference->answers = calloc(LAW1_NUM_REQUESTS, sizeof(*reference->answers));
    ck_assert_ptr_nonnull(reference->answers);
    for (int32_t k = 0; k < c->num; k++)
        is_wanted[(c->first + k) % LAW1_NUM_REQUESTS] = true;
    for (int32_t i = 0; i < LAW1_NUM_REQUESTS; i++) {
        struct law1_case alone = law1_usual(c->model, c->kv_dtype, c->num_ranks);
        alone.first = i;
        while (i < LAW1_NUM_REQUESTS && is_wanted[i] && !reference->is_known[i])
            i++;
        alone.num = i - alone.first;
        if (alone.num > 0)
            compute(&alone, reference);
    }
}

/* --- comparison --------------------------------------------------------------------------- */

static const char *differs(int32_t request, const char *what, int32_t choice, int32_t at)
{
    static char text[128];
    snprintf(text, sizeof(text), "request %d choice %d: %s %d", request, choice, what, at);
    return text;
}

static const char *compare_choice(int32_t i, int32_t c, const struct law1_choice *a,
                                  const struct law1_choice *b, bool logits)
{
    for (int32_t k = 0; k < LAW1_MAX_TOKENS; k++) {
        /* Behind the end there may be a row that nobody wants. */
        if (logits && k < a->num_tokens && a->logits[k] != b->logits[k])
            return differs(i, "other logits for token", c, k);
        if (a->tokens[k] != b->tokens[k])
            return differs(i, "another token", c, k);
        if (memcmp(a->logprobs[k], b->logprobs[k], sizeof(a->logprobs[k])) != 0)
            return differs(i, "other log-probabilities of token", c, k);
    }
    if (a->num_tokens != b->num_tokens || a->reason != b->reason || a->stop_id != b->stop_id)
        return differs(i, "another end behind token", c, b->num_tokens);
    return NULL;
}

static const char *compare(int32_t i, const struct law1_answer *a, const struct law1_answer *b,
                           bool logits)
{
    const char *difference = NULL;
    for (int32_t c = 0; c < LAW1_MAX_CHOICES && difference == NULL; c++)
        difference = compare_choice(i, c, &a->choices[c], &b->choices[c], logits);
    if (difference == NULL &&
        (a->num_scores != b->num_scores || memcmp(a->scores, b->scores, sizeof(a->scores)) != 0))
        return differs(i, "other log-probabilities of a prompt of", 0, b->num_scores);
    return difference;
}

const char *law1_difference(const struct law1_case *c, const struct law1_answer *answers)
{
    const struct law1_answer *reference = reference_of(c)->answers;
    const char *difference = NULL;
    for (int32_t k = 0; k < c->num && difference == NULL; k++) {
        const int32_t i = (c->first + k) % LAW1_NUM_REQUESTS;
        ck_assert_int_ge(answers[i].choices[0].num_tokens, LAW1_MIN_TOKENS);
        difference = compare(i, &reference[i], &answers[i], c->is_watched);
    }
    return difference;
}

void law1_check(const struct law1_case *c)
{
    static struct law1_answer answers[LAW1_NUM_REQUESTS];
    law1_prepare(c);
    law1_answer(c, answers);
    const char *difference = law1_difference(c, answers);
    ck_assert_msg(difference == NULL, "%s, with %s", difference, law1_describe(c));
}

const char *law1_describe(const struct law1_case *c)
{
    static const char *const starts[] = { "no prefix cache", "an empty prefix cache",
                                          "parts of the prompts cached", "whole prompts cached" };
    static const char *const pests[] = { "no preemption", "preemption by blocks",
                                         "preemption by seats" };
    static char text[512];
    snprintf(text, sizeof(text),
             "%s, KV in %s, %d ranks, requests from %d on: %d, %d at once%s, chunks of %d, "
             "%d sequences, %d threads, %s, %s, %s, %d restarts%s%s",
             strrchr(law1_models[c->model].dir, '/') + 1, dtype_name(c->kv_dtype), c->num_ranks,
             c->first, c->num, c->batch, c->is_staggered ? " one by one" : "", c->chunk,
             c->num_seqs, c->num_threads, c->plans_ahead ? "planned ahead" : "not planned ahead",
             starts[c->start], pests[c->pest], c->num_restarts,
             c->is_read_slowly ? ", read slowly" : "", c->is_watched ? ", logits watched" : "");
    return text;
}

/* --- chance ------------------------------------------------------------------------------- */

uint64_t law1_seed(void)
{
    const char *text = getenv("LAW1_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20261;
}

static int32_t pick(uint64_t *state, const int32_t *from, uint32_t num)
{
    *state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    uint64_t x = *state;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    x = (x ^ x >> 31) >> 11;
    return from != NULL ? from[x % num] : (int32_t)(x % num);
}

#define PICK(state, ...)                                                                           \
    pick(state, (const int32_t[]){ __VA_ARGS__ },                                                  \
         sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t))

/* Small chunks take many steps, preemption computes again and again, and more threads than there
 * are processors wait for each other. */
static int32_t most_requests(const struct law1_case *c)
{
    static const struct {
        int32_t chunk, num, num_pestered;
    } most[] = { { 2, 3, 1 }, { 7, 10, 2 }, { 17, 24, 3 }, { 512, 64, 5 } };
    int32_t i = 0;
    while (c->chunk > most[i].chunk)
        i++;
    const int32_t num = c->pest == LAW1_NO_PEST ? most[i].num : most[i].num_pestered;
    return c->num_threads > 2 ? (num + 2) / 3 : num;
}

static void settle(struct law1_case *c)
{
    const int32_t most = most_requests(c);
    c->num = c->batch < 3 ? 3 : c->batch;
    c->num = c->num < most ? c->num : most;
    c->batch = c->batch < c->num ? c->batch : c->num;
    if (c->pest == LAW1_NO_PEST)
        return;
    c->is_read_slowly = false; /* what is preempted has to be seen */
    c->num_seqs = c->num_seqs < 16 ? c->num_seqs : 16;
    c->first &= ~3; /* request 0 of 8 has a short prompt */
}

struct law1_case law1_random(uint64_t seed, uint32_t number, int32_t num_ranks)
{
    uint64_t state = seed * 1000003u + number;
    struct law1_case c = {
        .model = pick(&state, NULL, 5) == 0 ? 0 : pick(&state, NULL, NUM_MODELS),
        .kv_dtype =
            PICK(&state, DTYPE_F16, DTYPE_F16, DTYPE_F32, DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_Q8_0),
        .num_ranks = num_ranks,
        .first = pick(&state, NULL, LAW1_NUM_REQUESTS),
        .batch = PICK(&state, 1, 2, 5, 8, 16, 64),
        .chunk = PICK(&state, 1, 2, 7, 16, 17, 64, 512),
        .num_seqs = PICK(&state, 3, 16, 64),
        .num_threads = PICK(&state, 1, 1, 1, 1, 1, 2, 2, 4),
        .start = (enum law1_start)pick(&state, NULL, LAW1_NUM_STARTS),
        .pest = (enum law1_pest)PICK(&state, LAW1_NO_PEST, LAW1_NO_PEST, LAW1_TINY_POOL,
                                     LAW1_FEW_SEATS),
        .num_restarts = PICK(&state, 0, 0, 1, 2),
        .plans_ahead = pick(&state, NULL, 4) > 0,
        .is_staggered = pick(&state, NULL, 2) != 0,
        .is_read_slowly = pick(&state, NULL, 4) == 0,
        .is_watched = pick(&state, NULL, 2) != 0,
        .seed = seed + number,
    };
    settle(&c);
    return c;
}
