/* Against what HF `tokenizers` gave for the same texts: tests/golden/tokenizer.py. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "text/tokenizer_parts.h"

static const struct {
    const char *name, *dir;
} models[] = {
    { "gpt2", GOLDEN_DIR "gpt2" },
    { "llama3", GOLDEN_DIR "llama3" },
    { "qwen2", GOLDEN_DIR "qwen2" },
    { "ringlet", SOURCE_ROOT "/models/ringlet" },
};
enum { NUM_MODELS = sizeof(models) / sizeof(models[0]), NUM_SEEDED = 5000, RINGLET = 3 };

static json_t *texts;
static struct tokenizer *tokenizer;
static struct tokenizer_scratch *scratch;
static struct token_ids ids;

static void open_model(int i)
{
    struct error err = { 0 };
    const int r = tokenizer_open(models[i].dir, &tokenizer, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    ck_assert_int_eq(tokenizer_scratch_create(tokenizer, &scratch), 0);
}

static void setup(void)
{
    texts = golden_load(GOLDEN_DIR "texts.json");
}

static void teardown(void)
{
    tokenizer_scratch_destroy(scratch);
    tokenizer_close(tokenizer);
    token_ids_finish(&ids);
    json_decref(texts);
}

static int encode(const char *text, size_t len, unsigned flags)
{
    ids.num = 0;
    return tokenizer_encode(tokenizer, scratch, text, len, flags, 0, &ids);
}

static void expect_ids(const json_t *want, size_t i, const char *name)
{
    bool same = json_array_size(want) == ids.num;
    for (size_t k = 0; same && k < ids.num; k++)
        same = json_integer_value(json_array_get(want, k)) == ids.ids[k];
    if (same)
        return;
    char *list = json_dumps(want, JSON_COMPACT);
    struct strbuf found = { 0 };
    for (size_t k = 0; k < ids.num; k++)
        strbuf_printf(&found, "%d,", ids.ids[k]);
    ck_abort_msg("%s, text %zu: want %.400s found [%.400s]", name, i, list, found.data);
}

START_TEST(ids_are_those_of_hf_tokenizers)
{
    char path[512];
    const json_t *list = json_object_get(texts, "texts");
    open_model(_i);
    snprintf(path, sizeof(path), "%s%s.json", GOLDEN_DIR, models[_i].name);
    json_t *want = golden_load(path);

    ck_assert_uint_ge(json_array_size(list), 300);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(list, i), *both = json_array_get(want, i);
        const size_t len = json_string_length(text);
        ck_assert_int_eq(
            encode(json_string_value(text), len, TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL),
            0);
        expect_ids(json_array_get(both, 0), i, models[_i].name);
        ck_assert_int_eq(encode(json_string_value(text), len, 0), 0);
        expect_ids(json_array_get(both, 1), i, models[_i].name);
    }
    json_decref(want);
}
END_TEST

START_TEST(ids_of_seeded_texts_are_those_of_hf_tokenizers)
{
    char path[512];
    char *hashes;
    size_t len;
    struct error err = { 0 };
    struct strbuf text = { 0 };
    open_model(_i);
    snprintf(path, sizeof(path), "%s%s.hashes", GOLDEN_DIR, models[_i].name);
    ck_assert_int_eq(file_read(path, 1 << 20, &hashes, &len, &err), 0);
    ck_assert_uint_eq(len, NUM_SEEDED * sizeof(uint64_t));

    for (uint64_t seed = 0; seed < NUM_SEEDED; seed++) {
        uint64_t want;
        memcpy(&want, hashes + seed * sizeof(want), sizeof(want));
        golden_seeded_text(texts, seed, &text);
        ck_assert_int_eq(encode(text.data, text.len, TOKENIZER_PARSE_SPECIAL), 0);
        ck_assert_msg(golden_hash(&ids) == want, "%s: seed %d", models[_i].name, (int)seed);
    }
    free(hashes);
    strbuf_finish(&text);
}
END_TEST

/* Put another pre-tokenizer into the first model. */
static void open_variant(const json_t *row, bool by_hand)
{
    struct error err = { 0 };
    json_t *file = golden_load(GOLDEN_DIR "gpt2/tokenizer.json");
    json_object_set(file, "pre_tokenizer", json_object_get(row, "pre_tokenizer"));
    char *text = json_dumps(file, JSON_COMPACT);
    const int r = tokenizer_parts_from_json(text, strlen(text), NULL, 0, by_hand, &tokenizer, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    ck_assert_int_eq(tokenizer_scratch_create(tokenizer, &scratch), 0);
    free(text);
    json_decref(file);
}

static void close_variant(void)
{
    tokenizer_scratch_destroy(scratch);
    tokenizer_close(tokenizer);
    scratch = NULL;
    tokenizer = NULL;
}

static void expect_variant(const json_t *row, bool by_hand)
{
    const json_t *list = json_object_get(texts, "texts");
    const char *hashes = json_string_value(json_object_get(row, "hashes"));
    open_variant(row, by_hand);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(list, i);
        char want[17], found[17];
        snprintf(want, sizeof(want), "%.16s", hashes + 16 * i);
        ck_assert_int_eq(
            encode(json_string_value(text), json_string_length(text), TOKENIZER_PARSE_SPECIAL), 0);
        snprintf(found, sizeof(found), "%016llx", (unsigned long long)golden_hash(&ids));
        ck_assert_msg(strcmp(found, want) == 0, "%s: text %zu",
                      json_string_value(json_object_get(row, "name")), i);
    }
    close_variant();
}

START_TEST(other_pre_tokenizers_cut_as_hf_tokenizers)
{
    json_t *rows = golden_load(GOLDEN_DIR "variants.json");

    ck_assert_uint_ge(json_array_size(rows), 15);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        expect_variant(json_array_get(rows, i), true);
        expect_variant(json_array_get(rows, i), false);
    }
    json_decref(rows);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tc = tcase_create("tokenizer");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, ids_are_those_of_hf_tokenizers, 0, NUM_MODELS);
    tcase_add_loop_test(tc, ids_of_seeded_texts_are_those_of_hf_tokenizers, 0, NUM_MODELS);
    tcase_add_test(tc, other_pre_tokenizers_cut_as_hf_tokenizers);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
