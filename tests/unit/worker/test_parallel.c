/*
 * test_parallel.c - a model cut into ranks computes what the whole one computes
 *
 * The ranks are threads of this process, each with a device, a model and a KV pool of its own.
 */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crew.h"
#include "deep_model.h"
#include "gguf_maker.h"
#include "rig.h"

enum {
    NUM_TOKENS = 64,
    MAX_VOCAB = 1024,
    MAX_RANKS = CREW_MAX_RANKS,
    AREA_FLOATS = 1000, /* so that vectors travel in pieces */
};

static const struct {
    const char *dir;
    int32_t num_ranks;
} cases[] = {
    { GOLDEN "/llama/mha_f32_sharded", 2 },
    { GOLDEN "/llama/mha_f32_sharded", 4 },
    { GOLDEN "/llama/gqa_bf16_llama3", 2 },
    { GOLDEN "/llama/gqa_bf16_llama3", 4 }, /* two ranks share a KV head */
    { GOLDEN "/llama/mqa_f16_biases", 2 },
    { GOLDEN "/llama/mqa_f16_biases", 4 },
    { GOLDEN "/llama/gqa_mixed", 3 }, /* 64 and 70 are cut unevenly */
    { GOLDEN "/families/qwen2_window", 2 },
    { GOLDEN "/families/qwen2_yarn", 4 },
    { GOLDEN "/families/mistral_window", 2 },
    { GOLDEN "/families/mistral_wrapped", 4 },
    { GOLDEN "/families/qwen3_linear", 2 },
    { GOLDEN_MADE_DIR "/qwen3_layer_types", 4 },
    { GOLDEN "/families/phi3_long", 2 }, /* fused tensors are cut in their parts */
    { GOLDEN "/families/phi3_short", 3 },
    { GOLDEN_MADE_DIR "/phi_partial", 2 },
    { GOLDEN_MADE_DIR "/phi_qk_layernorm", 4 },
    { GOLDEN "/families/gemma_mqa", 4 },
    { GOLDEN "/families/gemma_bias", 3 },
    { GOLDEN_MADE_DIR "/gemma2_caps", 2 },
    { GOLDEN_MADE_DIR "/gemma2_layer_types", 4 },
    { GOLDEN "/families/olmo2_gqa", 2 }, /* a norm over the heads of all ranks */
    { GOLDEN "/families/olmo2_gqa", 6 }, /* also where ranks share heads */
    { GOLDEN_MADE_DIR "/olmo2_bias", 4 },
    { GOLDEN "/families/gemma3_two_ropes", 2 },
    { RINGLET, 2 },
    { RINGLET, 4 },
    { GOLDEN "/families/mixtral_gqa_bf16", 2 },
    { GOLDEN_MADE_DIR "/mixtral_odd_window", 4 }, /* experts of 33 are cut unevenly */
    { GOLDEN "/families/qwen2_moe_sparse_step", 2 },
    { GOLDEN "/families/qwen2_moe_mlp_only", 4 },
    { GOLDEN "/families/qwen3_moe_norm", 4 },
    { GOLDEN "/families/qwen3_moe_mlp_only", 2 },
    { GOLDEN "/families/deepseek_v2_lite", 4 },
    { GOLDEN_MADE_DIR "/deepseek_v2_groups", 2 },
    { GOLDEN "/families/deepseek_v3", 2 },
    { GOLDEN_MADE_DIR "/deepseek_v3_half_rope", 4 },
    { GOLDEN_MADE_DIR "/deep_a", 2 },
    { GOLDEN_MADE_DIR "/deep_a_dense_window", 4 },
    { GOLDEN_MADE_DIR "/deep_b", 4 },
    { GOLDEN_MADE_DIR "/deepseek_v2_normed", 2 },
    { GOLDEN_MADE_DIR "/deepseek_v2_wide", 2 },
    { GOLDEN_MADE_DIR "/qwen2_moe_window", 2 },
    { GOLDEN_MADE_DIR "/phi3_window", 2 },
    /* Columns are cut within groups and blocks, in any order. */
    { GOLDEN "/quantized/fp8_tensor", 2 },
    { GOLDEN "/quantized/fp8_block_128", 2 },
    { GOLDEN "/quantized/ct_fp8_channel", 4 },
    { GOLDEN "/quantized/ct_int8", 2 },
    { GOLDEN "/quantized/ct_int4_group", 4 },
    { GOLDEN "/quantized/ct_int4_order", 2 },
    { GOLDEN "/quantized/gptq_128", 4 },
    { GOLDEN "/quantized/gptq_order", 2 },
    { GOLDEN "/quantized/gptq_order", 4 },
    { GOLDEN "/quantized/gptq_v2_8bit", 2 },
    { GOLDEN "/quantized/awq_32", 2 },
    { GOLDEN "/quantized/awq_32", 4 },
    { GOLDEN "/quantized/mixtral_awq", 4 },
    { GOLDEN "/quantized/deepseek_fp8", 4 },
    { GOLDEN "/quantized/gptq_orders_apart", 2 },
    { GOLDEN "/quantized/awq_some", 2 },
    { GOLDEN "/quantized/ct_fp8_some", 2 },
    { GOLDEN "/quantized/mixtral_awq_some", 2 },
    { GOLDEN "/quantized/mixtral_awq_some", 4 }, /* 16 wide: no whole panels to join */
};
enum { NUM_CASES = sizeof(cases) / sizeof(cases[0]) };

static const int32_t chunks[] = { 64, 7, 1 };
enum { NUM_CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };

static const int32_t blocks[] = { 5, 2, 11, 0 };

struct rank {
    int32_t number;
    struct rig rig;
    const char *dir;
    size_t weight_bytes;
    int result;
    struct error err;
    float logits[NUM_CHUNKS][NUM_TOKENS * MAX_VOCAB];
};

static struct crew crew;
static struct rank ranks[MAX_RANKS];
static struct mu_clamp mu_clamp;
static int32_t tokens[NUM_TOKENS];
static float whole[NUM_TOKENS * MAX_VOCAB];

static void *run_rank(void *argument)
{
    struct rank *rank = argument;
    const struct rig_options options = { .dir = rank->dir,
                                         .num_threads = 1,
                                         .kv_dtype = DTYPE_F32,
                                         .mu_clamp = mu_clamp,
                                         .communicator = &crew.ranks[rank->number].communicator };
    rank->result = rig_open(&rank->rig, &options, &rank->err);
    if (rank->result < 0)
        return NULL;
    rank->weight_bytes = model_weight_bytes(rank->rig.model);
    for (int c = 0; c < NUM_CHUNKS; c++)
        rig_run(&rank->rig, tokens, NUM_TOKENS, chunks[c], blocks, rank->logits[c]);
    rig_close(&rank->rig);
    return NULL;
}

static void run_ranks(const char *dir, int32_t num_ranks)
{
    pthread_t ids[MAX_RANKS];
    crew_join(&crew, num_ranks, AREA_FLOATS);
    for (int32_t r = 0; r < num_ranks; r++) {
        ranks[r].number = r;
        ranks[r].dir = dir;
        ck_assert_int_eq(pthread_create(&ids[r], NULL, run_rank, &ranks[r]), 0);
    }
    for (int32_t r = 0; r < num_ranks; r++)
        pthread_join(ids[r], NULL);
    for (int32_t r = 0; r < num_ranks; r++)
        ck_assert_msg(ranks[r].result == 0, "rank %d: %s", r, ranks[r].err.message);
    crew_leave(&crew);
}

/* The whole model's logits, and its vocabulary and weights. */
static void run_whole(const char *dir, int32_t *ret_vocab_size, size_t *ret_weight_bytes)
{
    const struct rig_options options = {
        .dir = dir, .num_threads = 1, .kv_dtype = DTYPE_F32, .mu_clamp = mu_clamp
    };
    struct rig rig;
    struct error err = { 0 };
    ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s", err.message);
    *ret_vocab_size = rig.vocab_size;
    *ret_weight_bytes = model_weight_bytes(rig.model);
    for (int32_t i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (i * 37 + 11) % rig.vocab_size;
    rig_run(&rig, tokens, NUM_TOKENS, NUM_TOKENS, blocks, whole);
    rig_close(&rig);
}

/* Returns the bytes of the whole model's weights; *ret_most: by how much logits differ. */
static size_t compare_bits(const char *dir, int32_t num_ranks, double *ret_most)
{
    int32_t vocab_size;
    size_t weight_bytes;
    run_whole(dir, &vocab_size, &weight_bytes);
    run_ranks(dir, num_ranks);

    const size_t num = NUM_TOKENS * (size_t)vocab_size;
    double most = 0.0;
    for (size_t i = 0; i < num; i++) {
        const double difference = fabs((double)ranks[0].logits[0][i] - (double)whole[i]);
        most = difference <= most ? most : difference; /* NaN too */
    }
    for (int32_t r = 0; r < num_ranks; r++)
        for (int c = 0; c < NUM_CHUNKS; c++)
            ck_assert_msg(memcmp(ranks[r].logits[c], ranks[0].logits[0], num * sizeof(float)) == 0,
                          "%s, rank %d of %d, chunks of %d", dir, r, num_ranks, chunks[c]);
    *ret_most = most;
    return weight_bytes;
}

static size_t compare_ranks(const char *dir, int32_t num_ranks)
{
    double most;
    const size_t weight_bytes = compare_bits(dir, num_ranks, &most);
    ck_assert_msg(most > 0.0 && most <= 1e-4, "%s, %d ranks: %g", dir, num_ranks, most);
    return weight_bytes;
}

START_TEST(ranks_together_compute_what_one_computes)
{
    const size_t weight_bytes = compare_ranks(cases[_i].dir, cases[_i].num_ranks);
    for (int32_t r = 0; r < cases[_i].num_ranks; r++)
        ck_assert_uint_lt(ranks[r].weight_bytes, weight_bytes);
}
END_TEST

/* The soft clamp is of sums that are whole, also where two parts share one; and it shows. */
START_TEST(a_soft_clamp_is_behind_the_sums_of_ranks)
{
    static const char *const dirs[] = { GOLDEN_MADE_DIR "/phi_partial",
                                        GOLDEN_MADE_DIR "/gemma2_caps",
                                        GOLDEN "/families/qwen2_moe_mlp_only",
                                        GOLDEN "/families/deepseek_v3" };
    int32_t vocab_size;
    size_t weight_bytes;
    mu_clamp = (struct mu_clamp){ 0 };
    run_whole(dirs[_i], &vocab_size, &weight_bytes);
    const float plain = whole[0];
    mu_clamp = (struct mu_clamp){ true, 0.1f, -1.5f, 2.0f };
    compare_ranks(dirs[_i], 2);
    ck_assert_double_gt(fabs((double)(whole[0] - plain)), 1e-4);
    mu_clamp = (struct mu_clamp){ true, 0.0f, -1e5f, 1e5f }; /* wide: nearly nothing */
    run_whole(dirs[_i], &vocab_size, &weight_bytes);
    ck_assert_double_le(fabs((double)(whole[0] - plain)), 0.1);
    mu_clamp = (struct mu_clamp){ 0 };
}
END_TEST

/* Each rank has its rows of q, k and v, gate and up, in the type of each. Activations are rounded
 * to eight bits: a sum that differs in its last bit may round the other way. */
START_TEST(ranks_cut_matrices_of_several_types)
{
    char path[] = "/tmp/test_parallel_XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    gguf_maker_write_mixture(path, false);
    double most, largest = 0.0;
    const size_t weight_bytes = compare_bits(path, 2, &most);
    for (int i = 0; i < NUM_TOKENS * 96; i++)
        largest = fmax(largest, fabs((double)whole[i]));
    ck_assert_msg(most <= 0.03 * largest, "%g of %g", most, largest);
    for (int32_t r = 0; r < 2; r++)
        ck_assert_uint_lt(ranks[r].weight_bytes, weight_bytes);
    unlink(path);
}
END_TEST

/* Their matrices are narrower than a panel: parts of them save nothing. */
START_TEST(ranks_carry_mu_beside_the_stream)
{
    static struct tensor_file file;
    (_i ? deep_model_b : deep_model_a)(&file);
    compare_ranks(file.dir, 2);
    tensor_file_finish(&file);
}
END_TEST

START_TEST(the_parts_of_all_ranks_cover_the_model_once)
{
    struct arch arch, own;
    struct error err;
    ck_assert_int_eq(model_read_arch(RINGLET, DTYPE_F16, 16, &arch, &err), 0);
    for (int32_t n = 1; n <= MAX_RANKS; n *= 2) {
        int32_t heads = 0, ffn = 0;
        for (int32_t r = 0; r < n; r++) {
            ck_assert_int_eq(model_shard(&arch, r, n, &own, &err), 0);
            heads += own.num_attention_heads;
            ffn += own.intermediate_size;
            ck_assert_int_eq(own.kv_block.num_kv_heads, own.num_key_value_heads);
            ck_assert_int_eq(own.num_attention_heads % own.num_key_value_heads, 0);
            ck_assert_int_eq(own.vocab_size, arch.vocab_size);
        }
        ck_assert_int_eq(heads, arch.num_attention_heads);
        ck_assert_int_eq(ffn, arch.intermediate_size);
    }
}
END_TEST

START_TEST(heads_that_cannot_be_shared_out_are_refused_by_name)
{
    struct arch arch, own;
    struct error err;
    ck_assert_int_eq(model_read_arch(RINGLET, DTYPE_F16, 16, &arch, &err), 0);
    arch.num_attention_heads = 12;
    arch.num_key_value_heads = 4;
    ck_assert_int_eq(model_shard(&arch, 0, 5, &own, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "num_attention_heads is 12"));
    ck_assert_str_eq(err.param, "tensor_parallel");
    ck_assert_int_eq(model_shard(&arch, 0, 6, &own, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "num_key_value_heads is 4"));
    ck_assert_int_eq(model_shard(&arch, 7, 12, &own, &err), 0); /* three ranks share a KV head */
    ck_assert_int_eq(own.num_key_value_heads, 1);
    arch.intermediate_size = 3;
    ck_assert_int_eq(model_shard(&arch, 0, 4, &own, &err), -EINVAL);
}
END_TEST

/* Rank 1 never comes: the step fails, and says why. */
START_TEST(a_step_whose_peer_is_gone_fails)
{
    struct error err;
    const struct backend *backend;
    struct device *device;
    float x[4] = { 0 };
    ck_assert_int_eq(backend_open("cpu", &backend, &err), 0);
    const struct device_options options = {
        .num_threads = 2, .max_rows = 1, .max_ops = 4, .max_vocab = 4
    };
    ck_assert_int_eq(backend->device_open(&options, &device, &err), 0);
    crew_join(&crew, 2, AREA_FLOATS);
    comm_leave(&crew.ranks[1].comm, -ECANCELED);
    for (int step = 0; step < 2; step++) {
        backend->begin(device);
        backend->all_reduce(device, &crew.ranks[0].communicator, x, 1, 4);
        backend->all_reduce(device, &crew.ranks[0].communicator, x, 1, 4);
        const int r = backend->submit(device);
        ck_assert_int_eq(r == 0 ? backend->wait(device) : r, -EPIPE);
    }
    backend->device_close(device);
    crew_leave(&crew);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parallel");
    TCase *tc = tcase_create("parallel");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, ranks_together_compute_what_one_computes, 0, NUM_CASES);
    tcase_add_loop_test(tc, a_soft_clamp_is_behind_the_sums_of_ranks, 0, 4);
    tcase_add_test(tc, ranks_cut_matrices_of_several_types);
    tcase_add_loop_test(tc, ranks_carry_mu_beside_the_stream, 0, 2);
    tcase_add_test(tc, the_parts_of_all_ranks_cover_the_model_once);
    tcase_add_test(tc, heads_that_cannot_be_shared_out_are_refused_by_name);
    tcase_add_test(tc, a_step_whose_peer_is_gone_fails);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
