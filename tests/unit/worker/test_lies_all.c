/*
 * test_lies_all.c - a directory of each family with one lie in it, each lie in turn: one sentence
 * names the key or the tensor
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "goldens.h"
#include "worker/model/measure.h"

enum { MAX_FILE = 16 << 20, MAX_CONFIG = 16384 };

/* One of each family, in one file. */
static const char *const dirs[] = {
    GOLDEN "/llama/mqa_f16_biases",      GOLDEN "/families/mistral_window",
    GOLDEN "/families/qwen2_window",     GOLDEN "/families/qwen3_linear",
    GOLDEN "/families/olmo2_gqa",        GOLDEN_MADE_DIR "/phi_partial",
    GOLDEN "/families/phi3_short",       GOLDEN "/families/gemma_bias",
    GOLDEN_MADE_DIR "/gemma2_caps",      GOLDEN "/families/gemma3_two_ropes",
    GOLDEN "/families/mixtral_gqa_bf16", GOLDEN "/families/qwen2_moe_sparse_step",
    GOLDEN "/families/qwen3_moe_norm",   GOLDEN "/families/deepseek_v2_lite",
    GOLDEN "/families/deepseek_v3",      GOLDEN_MADE_DIR "/deep_a",
    GOLDEN_MADE_DIR "/deep_b",
};
enum { NUM_DIRS = sizeof(dirs) / sizeof(dirs[0]) };

static char made[] = "/tmp/tokenring-lies-XXXXXX", config_path[64], weights_path[64];
static char config_text[MAX_CONFIG], weights_source[4096];
static unsigned char weights[MAX_FILE];
static size_t weights_len;

static size_t read_file(const char *path, void *to, size_t size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    const size_t len = fread(to, 1, size, file);
    ck_assert_uint_lt(len, size);
    fclose(file);
    return len;
}

static void write_file(const char *path, const void *text, size_t len)
{
    unlink(path); /* it may be a link */
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static void set_up(int i)
{
    char path[4096];
    ck_assert_ptr_nonnull(mkdtemp(made));
    snprintf(config_path, sizeof(config_path), "%s/config.json", made);
    snprintf(weights_path, sizeof(weights_path), "%s/model.safetensors", made);
    snprintf(path, sizeof(path), "%s/config.json", dirs[i]);
    config_text[read_file(path, config_text, sizeof(config_text))] = '\0';
    snprintf(weights_source, sizeof(weights_source), "%s/model.safetensors", dirs[i]);
    weights_len = read_file(weights_source, weights, sizeof(weights));
    write_file(config_path, config_text, strlen(config_text));
    ck_assert_int_eq(symlink(weights_source, weights_path), 0);
}

static void tear_down(void)
{
    unlink(config_path);
    unlink(weights_path);
    rmdir(made);
}

static int measure(struct error *err)
{
    static struct measure m;
    const struct model_options options = {
        .dir = made, .kv_dtype = DTYPE_F16, .block_size = 16, .max_rows = 64, .max_logits = 8
    };
    *err = (struct error){ 0 };
    return measure_model(&options, 1, &m, err);
}

/* One sentence that has the word in it. */
static void expect_refusal(const char *lie, const char *word)
{
    struct error err;
    const int r = measure(&err);
    ck_assert_msg(r == -EINVAL || r == -ENOTSUP, "%s: %d %s", lie, r, err.message);
    ck_assert_msg(strstr(err.message, word) != NULL, "%s: %s", lie, err.message);
    ck_assert_msg(strchr(err.message, '\n') == NULL, "%s: %s", lie, err.message);
}

/* --- config.json -------------------------------------------------------------------------- */

/* config.json with `to` written for the value of `key`, which is where a model's text is told. */
static void write_config(const char *key, const char *to)
{
    static const char mark[] = "\"@value@\"";
    json_t *config = json_loads(config_text, 0, NULL);
    json_t *text = json_object_get(config, "text_config");
    json_object_set_new(text != NULL ? text : config, key, json_string("@value@"));
    char *dumped = json_dumps(config, JSON_PRESERVE_ORDER);
    char *at = strstr(dumped, mark);
    char lie[MAX_CONFIG + 256];
    ck_assert_ptr_nonnull(at);
    snprintf(lie, sizeof(lie), "%.*s%s%s", (int)(at - dumped), dumped, to, at + strlen(mark));
    write_file(config_path, lie, strlen(lie));
    free(dumped);
    json_decref(config);
}

START_TEST(a_number_that_is_none_is_refused_by_its_key)
{
    const char *key;
    json_t *value;
    set_up(_i);
    json_t *config = json_loads(config_text, 0, NULL);
    json_object_foreach(config, key, value)
    {
        if (!json_is_number(value))
            continue;
        write_config(key, "NaN");
        expect_refusal(key, key);
        write_config(key, "-Infinity");
        expect_refusal(key, key);
    }
    json_decref(config);
    tear_down();
}
END_TEST

/* Keys that every family reads. */
static const char *const sizes[] = { "vocab_size", "hidden_size", "num_hidden_layers",
                                     "num_attention_heads", "intermediate_size" };
static const char *const no_sizes[] = { "\"8\"", "-1",    "0",
                                        "2.5",   "1e300", "99999999999999999999",
                                        "[8]",   "true",  "{}" };

START_TEST(a_size_that_is_none_is_refused_by_its_key)
{
    set_up(_i);
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
        for (size_t v = 0; v < sizeof(no_sizes) / sizeof(no_sizes[0]); v++) {
            write_config(sizes[k], no_sizes[v]);
            expect_refusal(no_sizes[v], sizes[k]);
        }
    tear_down();
}
END_TEST

START_TEST(what_is_not_known_is_refused_by_its_name)
{
    struct error err;
    set_up(_i);
    ck_assert_msg(measure(&err) == 0, "%s", err.message);
    json_t *config = json_loads(config_text, 0, NULL);
    const bool newer =
        json_object_get(config, "hidden_activation") != NULL || strstr(dirs[_i], "gemma") != NULL;
    const bool two = strstr(dirs[_i], "gemma3") != NULL;
    json_decref(config);
    write_config(newer ? "hidden_activation" : "hidden_act", "\"swoosh\"");
    if (strstr(dirs[_i], "deep_b") == NULL) /* which has SiLU, whatever is said */
        expect_refusal("activation", "\"swoosh\"");
    write_config("rope_parameters", two ? "{\"full_attention\": {\"rope_type\": \"coil\"},"
                                          " \"sliding_attention\": {\"rope_type\": \"default\"}}"
                                        : "{\"rope_type\": \"coil\"}");
    expect_refusal("rope", "rope_type is \"coil\"");
    write_config("model_type", "\"llarma\"");
    expect_refusal("model_type", "model_type is \"llarma\"");
    write_config("quantization_config", "{\"quant_method\": \"guesswork\"}");
    expect_refusal("quantization", "guesswork");
    tear_down();
}
END_TEST

/* --- tensors ------------------------------------------------------------------------------ */

static json_t *read_header(size_t *ret_data)
{
    uint64_t len;
    memcpy(&len, weights, sizeof(len));
    ck_assert_uint_lt(len, weights_len);
    json_t *header = json_loadb((const char *)weights + 8, len, 0, NULL);
    ck_assert_ptr_nonnull(header);
    json_object_del(header, "__metadata__");
    *ret_data = 8 + (size_t)len;
    return header;
}

static void write_weights(const json_t *header, size_t data)
{
    static unsigned char lie[MAX_FILE + 65536];
    char *text = json_dumps(header, JSON_COMPACT);
    const uint64_t len = strlen(text);
    memcpy(lie, &len, sizeof(len));
    memcpy(lie + 8, text, len);
    memcpy(lie + 8 + len, weights + data, weights_len - data);
    write_file(weights_path, lie, 8 + len + weights_len - data);
    free(text);
}

/* Of one layer in the middle all names are known to matter. */
static bool is_tried(const char *name)
{
    return strstr(name, "layers.") == NULL || strstr(name, "layers.1.") != NULL;
}

START_TEST(a_tensor_of_another_name_or_shape_is_refused_by_name)
{
    const char *name;
    json_t *entry;
    size_t data;
    int num = 0;
    set_up(_i);
    const json_t *header = read_header(&data);
    json_object_foreach((json_t *)(uintptr_t)header, name, entry)
    {
        char renamed[256];
        if (!is_tried(name))
            continue;
        num++;
        json_t *lie = json_deep_copy(header);
        json_array_append_new(json_object_get(json_object_get(lie, name), "shape"),
                              json_integer(1));
        write_weights(lie, data);
        expect_refusal("shape", name);

        snprintf(renamed, sizeof(renamed), "%s.other", name);
        json_object_del(lie, name);
        json_object_set(lie, renamed, entry);
        write_weights(lie, data);
        expect_refusal("name", name);
        json_decref(lie);
    }
    ck_assert_int_ge(num, 8);
    json_decref((json_t *)(uintptr_t)header);
    tear_down();
}
END_TEST

START_TEST(a_type_that_cannot_be_read_is_refused_by_name)
{
    const char *name;
    json_t *entry;
    size_t data;
    set_up(_i);
    const json_t *header = read_header(&data);
    json_object_foreach((json_t *)(uintptr_t)header, name, entry)
    {
        const char *dtype = json_string_value(json_object_get(entry, "dtype"));
        if (!is_tried(name) || strcmp(dtype, "I64") == 0)
            continue;
        json_t *lie = json_deep_copy(header);
        json_object_set_new(json_object_get(lie, name), "dtype",
                            json_string(strcmp(dtype, "F32") == 0 ? "U32" : "I16"));
        write_weights(lie, data);
        expect_refusal("dtype", name);
        json_decref(lie);
    }
    json_decref((json_t *)(uintptr_t)header);
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lies_all");
    TCase *tc = tcase_create("lies_all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_number_that_is_none_is_refused_by_its_key, 0, NUM_DIRS);
    tcase_add_loop_test(tc, a_size_that_is_none_is_refused_by_its_key, 0, NUM_DIRS);
    tcase_add_loop_test(tc, what_is_not_known_is_refused_by_its_name, 0, NUM_DIRS);
    tcase_add_loop_test(tc, a_tensor_of_another_name_or_shape_is_refused_by_name, 0, NUM_DIRS);
    tcase_add_loop_test(tc, a_type_that_cannot_be_read_is_refused_by_name, 0, NUM_DIRS);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
