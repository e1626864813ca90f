/*
 * test_deep.c - DeepForCausalLM, both families: tiny models whose logits were computed elsewhere
 */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deep_model.h"
#include "rig.h"
#include "worker/model/measure.h"

enum { V = DEEP_VOCAB, PROMPT = 5 };
#define NUM(rows) (sizeof(rows) / sizeof((rows)[0]))

static const int32_t prompt[PROMPT] = { 3, 7, 1, 10, 4 };
static struct tensor_file file;

static void open_rig(struct rig *rig, const struct rig_options *options)
{
    struct rig_options whole = *options;
    struct error err = { 0 };
    whole.dir = file.dir;
    const int r = rig_open(rig, &whole, &err);
    ck_assert_msg(r == 0, "%s", err.message);
}

static const int32_t blocks[] = { 3, 1 };

static void expect(const float *got, const double *wanted)
{
    for (int i = 0; i < V; i++)
        ck_assert_msg(fabs((double)got[i] - wanted[i]) < 5e-6, "logit %d is %.7f, wanted %.7f", i,
                      (double)got[i], wanted[i]);
}

static const double first_a[] = { 0.6441391,  0.2241742,  -1.1407932, 1.7630298,
                                  1.1811312,  -0.7152024, -0.7259735, -0.9713869,
                                  -1.3182985, -0.1497364, -1.5710286 };
static const double last_a[] = { -0.1001099, 2.1994960,  0.6703675,  -0.1701645,
                                 0.8988236,  -0.3820184, -1.9803115, 0.9292571,
                                 0.0216450,  -1.3729508, -0.2466373 };
static const double first_b[] = { 1.0625819,  0.6804637,  1.6342101,  0.8250273,
                                  -0.0411172, 2.5470338,  -1.3415844, -0.5422233,
                                  -1.9216924, -1.3403352, -0.1432492 };
static const double last_b[] = { -0.0344769, 0.4262937,  2.4946487,  0.1325561,
                                 1.2131079,  1.8059539,  -1.1831058, 0.2879677,
                                 -2.0382688, -1.5307955, 0.4800827 };

static const struct {
    struct mu_clamp clamp;
    bool no_highway;
    double last[V];
} variants_a[] = {
    { { 0 },
      true,
      { -0.1498819, 2.1863470, 0.6424844, -0.2417068, 0.8166754, -0.4334345, -1.9192888, 0.9937906,
        0.1374794, -1.3279437, -0.1881797 } },
    { { true, 0.0f, -10.0f, 10.0f },
      false,
      { 0.0235988, 2.2084363, 0.6811643, -0.1589766, 1.0703351, -0.3112758, -1.9963531, 1.0067873,
        -0.1582924, -1.3551016, -0.2224014 } },
    { { true, 0.25f, -1.0f, 2.0f },
      false,
      { 1.3784484, -0.9156154, 2.0191007, 0.2782727, 1.1572478, 0.6468352, -0.2994415, 0.3151181,
        -1.4273267, -1.4653128, -0.2407854 } },
    { { true, 0.0f, -10.0f, 10.0f },
      true,
      { -0.0475669, 2.1903803, 0.6660258, -0.2381948, 0.9764621, -0.3635731, -1.9298956, 1.0745063,
        -0.0332715, -1.3127345, -0.1515773 } },
}, variants_b[] = {
    { { true, 0.0f, -10.0f, 10.0f },
      false,
      { -0.1141683, 0.2728710, 2.5009294, 0.2262227, 1.2062719, 1.7952806, -1.0919966, 0.1912392,
        -2.1353679, -1.4978186, 0.4860629 } },
    { { true, 0.25f, -1.0f, 2.0f },
      false,
      { 0.9357495, -0.7781141, 2.4514432, 0.0084505, 1.1630241, 0.7588135, -0.5699774, 0.1733663,
        -0.8796256, -1.8321540, -0.6069824 } },
};

START_TEST(the_generator_gives_the_known_values)
{
    static const double embed[] = { 0.5491126, 0.5678571, -0.1874650 };
    static const double q[] = { 0.2612638, 0.5632957, 0.2192591 };
    float values[3];
    tensor_file_values("embed_tokens.weight", 3, values);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol((double)values[i], embed[i], 1e-7);
    tensor_file_values("layers.0.self_attn.q_proj.weight", 3, values);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol((double)values[i], q[i], 1e-7);
}
END_TEST

static const char *const isas[] = { "scalar", "avx2", "avx512", "neon" };

static bool can_run(const char *isa)
{
    const struct rig_options options = { .dir = file.dir, .isa = isa };
    struct rig rig;
    struct error err;
    const int r = rig_open(&rig, &options, &err);
    if (r == 0)
        rig_close(&rig);
    return r != -ENOTSUP;
}

static void check_logits(const struct rig_options *options, const double *first, const double *last)
{
    float logits[PROMPT * V];
    struct rig rig;
    open_rig(&rig, options);
    for (int32_t chunk = 1; chunk <= PROMPT; chunk++) {
        rig_run(&rig, prompt, PROMPT, chunk, blocks, logits);
        if (first != NULL)
            expect(logits, first);
        expect(logits + (PROMPT - 1) * V, last);
    }
    rig_close(&rig);
}

START_TEST(logits_are_those_of_the_reference)
{
    const bool is_a = _i % 2 == 0;
    const struct rig_options options = { .isa = isas[_i / 2], .kv_dtype = DTYPE_F32 };
    (is_a ? deep_model_a : deep_model_b)(&file);
    if (can_run(options.isa))
        check_logits(&options, is_a ? first_a : first_b, is_a ? last_a : last_b);
    tensor_file_finish(&file);
}
END_TEST

START_TEST(a_soft_clamp_and_a_missing_highway_change_them_as_known)
{
    deep_model_a(&file);
    for (size_t i = 0; i < NUM(variants_a); i++) {
        const struct rig_options options = { .mu_clamp = variants_a[i].clamp,
                                             .no_mu_highway = variants_a[i].no_highway };
        check_logits(&options, NULL, variants_a[i].last);
    }
    tensor_file_finish(&file);
    deep_model_b(&file);
    for (size_t i = 0; i < NUM(variants_b); i++) {
        const struct rig_options options = { .mu_clamp = variants_b[i].clamp };
        check_logits(&options, NULL, variants_b[i].last);
    }
    tensor_file_finish(&file);
}
END_TEST

START_TEST(old_names_mean_the_same_model)
{
    const struct rig_options options = { .num_threads = 1 };
    deep_model_old_a(&file, false);
    check_logits(&options, first_a, last_a);
    tensor_file_finish(&file);
}
END_TEST

/* A sequence of 40 tokens: chunks, threads, neighbours. */
START_TEST(no_circumstance_changes_a_bit)
{
    enum { LONG = 40 };
    static const int32_t chunks[] = { 40, 16, 7, 1 };
    static const int32_t here[] = { 5, 2, 9 }, there[] = { 7, 3, 1 };
    float whole[LONG * V], other[LONG * V], together[2 * LONG * V];
    int32_t tokens[LONG];
    for (int32_t i = 0; i < LONG; i++)
        tokens[i] = (7 * i * i + 3 * i) % V;
    (_i ? deep_model_b : deep_model_a)(&file);
    for (int32_t threads = 1; threads <= 3; threads++) {
        const struct rig_options options = { .num_threads = threads };
        struct rig rig;
        open_rig(&rig, &options);
        for (size_t c = 0; c < NUM(chunks); c++) {
            const bool is_first = threads == 1 && c == 0;
            rig_run(&rig, tokens, LONG, chunks[c], c % 2 ? there : here, is_first ? whole : other);
            if (!is_first)
                ck_assert_mem_eq(whole, other, sizeof(whole));
        }
        const struct rig_part parts[] = { { prompt, 0, PROMPT, there }, { tokens, 0, 30, here } };
        const int32_t wanted[] = { PROMPT + 29, 4, PROMPT + 3 };
        rig_step(&rig, parts, 2, NULL, 0, together);
        ck_assert_mem_eq(together + PROMPT * V, whole, 30 * V * sizeof(float));
        rig_step(&rig, parts, 2, wanted, 3, other);
        for (int i = 0; i < 3; i++)
            ck_assert_mem_eq(other + i * V, together + wanted[i] * V, V * sizeof(float));
        rig_close(&rig);
    }
    tensor_file_finish(&file);
}
END_TEST

START_TEST(what_is_said_before_loading_is_what_loading_finds)
{
    struct measure measure;
    struct error err = { 0 };
    struct rig rig;
    (_i ? deep_model_b : deep_model_a)(&file);
    const struct rig_options options = { .kv_dtype = DTYPE_F16 };
    const struct model_options wanted = { .dir = file.dir,
                                          .kv_dtype = DTYPE_F16,
                                          .block_size = RIG_BLOCK_SIZE,
                                          .max_rows = 8,
                                          .max_logits = 8 };
    ck_assert_msg(measure_model(&wanted, 1, &measure, &err) == 0, "%s", err.message);
    open_rig(&rig, &options);
    ck_assert_uint_eq(measure.weight_bytes, model_weight_bytes(rig.model));
    rig_close(&rig);
    tensor_file_finish(&file);
}
END_TEST

static void refuse(const char *config, const char *sentence)
{
    struct rig rig;
    struct error err = { 0 };
    const struct rig_options options = { .dir = file.dir };
    tensor_file_write(&file, config);
    const int r = rig_open(&rig, &options, &err);
    ck_assert_msg(r < 0 && strstr(err.message, sentence) != NULL, "%d: %s", r, err.message);
    tensor_file_finish(&file);
}

/* config_a with one key changed. */
static const char *changed(const char *from, const char *to)
{
    static char text[1024];
    const char *at = strstr(deep_config_a, from);
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - deep_config_a), deep_config_a, to,
             at + strlen(from));
    return text;
}

START_TEST(a_directory_that_lies_is_refused_in_one_sentence)
{
    static const int64_t wrong[V] = { 0, 1, 2, 3, 0 };
    deep_model_a(&file);
    refuse(changed("\"num_experts\":3", "\"num_experts\":13"), "intermediate_size is 12");
    deep_model_a(&file);
    refuse(changed("\"num_experts\":3", "\"num_experts\":2"), "gate_up_proj");
    deep_model_a(&file);
    refuse(changed("\"version\":\"0.13.0\"", "\"mlp_type\":\"tr_hash_moe\""), "tr_hash_moe");
    deep_model_a(&file);
    refuse(changed("\"version\":\"0.13.0\"", "\"top_k\":2"), "top_k is 2");
    deep_model_a(&file);
    refuse(changed("\"silu\"", "\"relu\""), "relu");
    deep_model_a(&file);
    refuse(changed("\"version\":\"0.13.0\"", "\"mlp_type\":\"token_routed\""),
           "dynamics.mu of layer 0 beside an mlp_type");
    deep_model_a(&file);
    refuse(changed("\"version\":\"0.13.0\"", "\"disable_mu_guidance\":true"),
           "guidance that config.json disables");
    deep_model_old_a(&file, true);
    refuse(deep_config_a, "mlp.experts.0.gate_proj.weight and mu_proj");
    deep_model_b(&file);
    refuse(changed("\"version\":\"0.13.0\"", "\"routed_output_scale\":0.5"),
           "routed_output_scale is set");

    const struct deep_parts lies = { .experts = true, .table = true, .other_table = wrong };
    deep_model_parts(&file, &lies);
    refuse(deep_config_a, "token_to_expert has 3 at 3, wanted 0 to 2");
    const struct deep_parts lacks = { .table = true };
    deep_model_parts(&file, &lacks);
    refuse(deep_config_a, "tensors of experts in layer 0 are missing");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deep");
    TCase *tc = tcase_create("deep");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_generator_gives_the_known_values);
    tcase_add_loop_test(tc, logits_are_those_of_the_reference, 0, 6);
    tcase_add_test(tc, a_soft_clamp_and_a_missing_highway_change_them_as_known);
    tcase_add_test(tc, old_names_mean_the_same_model);
    tcase_add_loop_test(tc, no_circumstance_changes_a_bit, 0, 2);
    tcase_add_loop_test(tc, what_is_said_before_loading_is_what_loading_finds, 0, 2);
    tcase_add_test(tc, a_directory_that_lies_is_refused_in_one_sentence);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
