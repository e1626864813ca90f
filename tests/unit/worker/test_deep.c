/*
 * test_deep.c - DeepForCausalLM, both families: tiny models whose logits were computed elsewhere
 *
 * V = 11, H = 8, I = 12, L = 2, two query heads, one KV head, three experts, a controller of 4.
 */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "tensor_file.h"

enum { V = 11, H = 8, IE = 4, L = 2, E = 3, C = 4, PROMPT = 5 };

static const char config_a[] =
    "{\"architectures\":[\"DeepForCausalLM\"],\"model_type\":\"complexity-deep\","
    "\"vocab_size\":11,\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"num_experts\":3,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"use_qk_norm\":true,\"dynamics_dt\":0.1,"
    "\"dynamics_controller_hidden\":4,\"sliding_window\":null,\"hidden_act\":\"silu\","
    "\"version\":\"0.13.0\"}";
/* As the family's own files are: neither model_type nor architectures. */
static const char config_b[] =
    "{\"vocab_size\":11,\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"num_experts\":3,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"use_token_routed_mlp\":true,"
    "\"use_qk_norm\":true,\"shared_expert\":true,\"use_mu_guidance\":true}";

static const int32_t prompt[PROMPT] = { 3, 7, 1, 10, 4 };
static const int64_t table_a[V] = { 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1 };
static const int64_t table_b[V] = { 0, 1, 1, 2, 2, 1, 2, 0, 1, 0, 2 };

static struct tensor_file file;

static size_t count(const char *shape)
{
    size_t num = 1;
    for (const char *at = shape; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        num *= (size_t)atoi(at);
    }
    return num;
}

/* A tensor with the values of its own name. */
static void add(const char *prefix, const char *name, const char *shape)
{
    float values[1024];
    char stored[96];
    tensor_file_values(name, count(shape), values);
    snprintf(stored, sizeof(stored), "%s%s", prefix, name);
    tensor_file_add(&file, stored, shape, values, count(shape));
}

struct row {
    const char *name, *shape;
};

static void add_layers(const char *prefix, const struct row *rows, size_t num)
{
    for (int l = 0; l < L; l++)
        for (size_t i = 0; i < num; i++) {
            char name[96];
            snprintf(name, sizeof(name), "layers.%d.%s", l, rows[i].name);
            add(prefix, name, rows[i].shape);
        }
}

static void add_tables(const char *prefix, const int64_t *table)
{
    for (int l = 0; l < L; l++) {
        char name[96];
        snprintf(name, sizeof(name), "%slayers.%d.mlp.token_to_expert", prefix, l);
        tensor_file_add_table(&file, name, table, V);
    }
}

static const struct row rows_both[] = {
    { "input_layernorm.weight", "8" },     { "post_attention_layernorm.weight", "8" },
    { "self_attn.q_proj.weight", "8,8" },  { "self_attn.k_proj.weight", "4,8" },
    { "self_attn.v_proj.weight", "4,8" },  { "self_attn.o_proj.weight", "8,8" },
    { "self_attn.mu_to_q.weight", "8,8" }, { "self_attn.mu_to_k.weight", "4,8" },
    { "self_attn.mu_to_v.weight", "4,8" }, { "self_attn.q_norm.weight", "4" },
    { "self_attn.k_norm.weight", "4" },
};
static const struct row rows_dynamics[] = {
    { "dynamics.mu", "8" },
    { "dynamics.mu_proj.weight", "8,8" },
    { "dynamics.controller_in.weight", "4,16" },
    { "dynamics.controller_in.bias", "4" },
    { "dynamics.controller_out.weight", "24,4" },
    { "dynamics.controller_out.bias", "24" },
    { "mlp.mu_router.weight", "3,8" },
};
static const struct row rows_fused[] = {
    { "mlp.gate_up_proj", "3,8,8" },
    { "mlp.down_proj", "3,4,8" },
};
static const struct row rows_b[] = {
    { "mlp.gate_proj_w", "3,8,4" },    { "mlp.up_proj_w", "3,8,4" },
    { "mlp.down_proj_w", "3,4,8" },    { "mlp.shared_gate.weight", "4,8" },
    { "mlp.shared_up.weight", "4,8" }, { "mlp.shared_down.weight", "8,4" },
    { "mu_guidance.mu", "8" },         { "mu_guidance.mu_proj.weight", "8,8" },
};
#define NUM(rows) (sizeof(rows) / sizeof((rows)[0]))

static void add_model(const char *prefix)
{
    add(prefix, "embed_tokens.weight", "11,8");
    add(prefix, "norm.weight", "8");
    add_layers(prefix, rows_both, NUM(rows_both));
}

static void make_a(void)
{
    tensor_file_init(&file);
    add_model("model.");
    add_layers("model.", rows_dynamics, NUM(rows_dynamics));
    add_layers("model.", rows_fused, NUM(rows_fused));
    add_tables("model.", table_a);
    tensor_file_write(&file, config_a);
}

static void make_b(void)
{
    tensor_file_init(&file);
    add_model("");
    add("", "mu_init", "1,1,8");
    add_layers("", rows_b, NUM(rows_b));
    add_tables("", table_b);
    tensor_file_write(&file, config_b);
}

/* The controller's old names, with the values of the new ones. */
static void add_old_controllers(void)
{
    static const struct row rows[][2] = {
        { { "controller_in.weight", "4,16" }, { "controller.0.weight", NULL } },
        { { "controller_in.bias", "4" }, { "controller.0.bias", NULL } },
        { { "controller_out.weight", "24,4" }, { "controller.2.weight", NULL } },
        { { "controller_out.bias", "24" }, { "controller.2.bias", NULL } },
    };
    for (int l = 0; l < L; l++)
        for (size_t i = 0; i < NUM(rows); i++) {
            float values[128];
            char seed[96], name[96];
            snprintf(seed, sizeof(seed), "layers.%d.dynamics.%s", l, rows[i][0].name);
            snprintf(name, sizeof(name), "module.layers.%d.dynamics.%s", l, rows[i][1].name);
            tensor_file_values(seed, count(rows[i][0].shape), values);
            tensor_file_add(&file, name, rows[i][0].shape, values, count(rows[i][0].shape));
        }
}

/* Experts as they were stored before: gate and up apart, or each expert's matrices for itself and
 * not transposed. */
static void add_old_experts(bool named)
{
    for (int l = 0; l < L; l++) {
        float fused[E * H * 2 * IE], down[E * IE * H], part[2][E * H * IE], turned[H * IE];
        char name[96];
        snprintf(name, sizeof(name), "layers.%d.mlp.gate_up_proj", l);
        tensor_file_values(name, NUM(fused), fused);
        snprintf(name, sizeof(name), "layers.%d.mlp.down_proj", l);
        tensor_file_values(name, NUM(down), down);
        for (int i = 0; i < E * H; i++)
            for (int k = 0; k < 2 * IE; k++)
                part[k / IE][i * IE + k % IE] = fused[i * 2 * IE + k];
        for (int p = 0; !named && p < 2; p++) {
            snprintf(name, sizeof(name), "module.layers.%d.mlp.%s_proj", l, p ? "up" : "gate");
            tensor_file_add(&file, name, "3,8,4", part[p], NUM(part[p]));
        }
        if (!named) {
            snprintf(name, sizeof(name), "module.layers.%d.mlp.down_proj", l);
            tensor_file_add(&file, name, "3,4,8", down, NUM(down));
            continue;
        }
        for (int e = 0; e < E; e++)
            for (int p = 0; p < 3; p++) {
                const float *from = p < 2 ? part[p] + e * H * IE : down + e * IE * H;
                const int in = p < 2 ? H : IE, out = p < 2 ? IE : H;
                for (int i = 0; i < in; i++)
                    for (int o = 0; o < out; o++)
                        turned[o * in + i] = from[i * out + o];
                snprintf(name, sizeof(name), "module.layers.%d.mlp.experts.%d.%s_proj.weight", l, e,
                         p == 2   ? "down"
                         : p == 1 ? "up"
                                  : "gate");
                tensor_file_add(&file, name, p < 2 ? "4,8" : "8,4", turned, NUM(turned));
            }
    }
}

/* The same model under the names that came before; the table is what is taken without one. */
static void make_old_a(bool named)
{
    tensor_file_init(&file);
    add_model("module.");
    for (int l = 0; l < L; l++) {
        char name[96];
        snprintf(name, sizeof(name), "layers.%d.dynamics.mu", l);
        add("module.", name, "8");
        snprintf(name, sizeof(name), "layers.%d.dynamics.mu_proj.weight", l);
        add("module.", name, "8,8");
        snprintf(name, sizeof(name), "layers.%d.mlp.mu_router.weight", l);
        add("module.", name, "3,8");
    }
    add_old_controllers();
    add_old_experts(named);
    tensor_file_write(&file, config_a);
}

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

static const char *const isas[] = { "scalar", "avx2", "avx512" };

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
    (is_a ? make_a : make_b)();
    if (can_run(options.isa))
        check_logits(&options, is_a ? first_a : first_b, is_a ? last_a : last_b);
    tensor_file_finish(&file);
}
END_TEST

START_TEST(a_soft_clamp_and_a_missing_highway_change_them_as_known)
{
    make_a();
    for (size_t i = 0; i < NUM(variants_a); i++) {
        const struct rig_options options = { .mu_clamp = variants_a[i].clamp,
                                             .no_mu_highway = variants_a[i].no_highway };
        check_logits(&options, NULL, variants_a[i].last);
    }
    tensor_file_finish(&file);
    make_b();
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
    make_old_a(_i);
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
    (_i ? make_b : make_a)();
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
    const char *at = strstr(config_a, from);
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - config_a), config_a, to, at + strlen(from));
    return text;
}

START_TEST(a_directory_that_lies_is_refused_in_one_sentence)
{
    static const int64_t wrong[V] = { 0, 1, 2, 3, 0 };
    make_a();
    refuse(changed("\"num_experts\":3", "\"num_experts\":13"), "intermediate_size is 12");
    make_a();
    refuse(changed("\"num_experts\":3", "\"num_experts\":2"), "gate_up_proj");
    make_a();
    refuse(changed("\"version\":\"0.13.0\"", "\"mlp_type\":\"tr_hash_moe\""), "tr_hash_moe");
    make_a();
    refuse(changed("\"version\":\"0.13.0\"", "\"top_k\":2"), "top_k is 2");
    make_a();
    refuse(changed("\"silu\"", "\"relu\""), "relu");

    tensor_file_init(&file);
    add_model("model.");
    add_layers("model.", rows_dynamics, NUM(rows_dynamics));
    add_layers("model.", rows_fused, NUM(rows_fused));
    add_tables("model.", wrong);
    refuse(config_a, "token_to_expert has 3 at 3, wanted 0 to 2");

    tensor_file_init(&file);
    add_model("model.");
    add_layers("model.", rows_dynamics, NUM(rows_dynamics));
    add_tables("model.", table_a);
    refuse(config_a, "tensors of experts in layer 0 are missing");
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
    tcase_add_loop_test(tc, old_names_mean_the_same_model, 0, 2);
    tcase_add_loop_test(tc, no_circumstance_changes_a_bit, 0, 2);
    tcase_add_test(tc, a_directory_that_lies_is_refused_in_one_sentence);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
