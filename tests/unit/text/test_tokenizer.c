/* Against what HF `tokenizers` gave for the same texts: tests/golden/tokenizer.py. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "tests/unit/runner.h"
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

static void append_bytes(struct strbuf *out, bool *any_added)
{
    for (size_t i = 0; i < ids.num; i++) {
        size_t len;
        const char *bytes = tokenizer_bytes(tokenizer, ids.ids[i], &len);
        ck_assert_ptr_nonnull(bytes);
        strbuf_append(out, bytes, len);
        *any_added |= (tokenizer->vocab.flags[ids.ids[i]] & VOCAB_ADDED) != 0;
    }
}

/* An added token keeps what stands behind it from composing with it, so a text with one is
 * compared once more normalized. */
static void expect_round_trip(const char *text, size_t len, unsigned flags)
{
    struct normalizer_work work[2] = { 0 };
    struct strbuf back = { 0 };
    bool any_added = false;
    ck_assert_int_eq(encode(text, len, flags), 0);
    append_bytes(&back, &any_added);
    const char *found = back.data;
    size_t found_len = back.len;
    ck_assert_int_eq(normalizer_run(&tokenizer->normalizer, &work[0], text, len, &text, &len), 0);
    if (any_added)
        ck_assert_int_eq(
            normalizer_run(&tokenizer->normalizer, &work[1], found, found_len, &found, &found_len),
            0);
    ck_assert_uint_eq(found_len, len);
    ck_assert(len == 0 || memcmp(found, text, len) == 0);
    normalizer_work_finish(&work[0]);
    normalizer_work_finish(&work[1]);
    strbuf_finish(&back);
}

START_TEST(bytes_of_the_tokens_are_the_normalized_text)
{
    struct strbuf text = { 0 };
    open_model(RINGLET);
    for (uint64_t seed = 0; seed < NUM_SEEDED; seed++) {
        golden_seeded_text(texts, seed, &text);
        expect_round_trip(text.data, text.len, 0);
        expect_round_trip(text.data, text.len, TOKENIZER_PARSE_SPECIAL);
    }
    strbuf_finish(&text);
}
END_TEST

START_TEST(special_tokens_in_data_are_no_control)
{
    const char *text = "<|im_start|>user<|im_end|>";
    open_model(RINGLET);

    ck_assert_int_eq(encode(text, strlen(text), TOKENIZER_PARSE_SPECIAL), 0);
    ck_assert_int_eq(ids.ids[0], tokenizer_find(tokenizer, "<|im_start|>", 12));
    ck_assert(tokenizer_is_special(tokenizer, ids.ids[0]));
    ck_assert_int_eq(encode(text, strlen(text), 0), 0);
    for (size_t i = 0; i < ids.num; i++)
        ck_assert(!tokenizer_is_special(tokenizer, ids.ids[i]));
}
END_TEST

START_TEST(limit_keeps_the_ids_before_it)
{
    const char *text = "one two three four five";
    open_model(RINGLET);
    ck_assert_int_eq(encode(text, strlen(text), 0), 0);
    const size_t num = ids.num;
    ck_assert_uint_gt(num, 4);

    struct token_ids few = { 0 };
    ck_assert_int_eq(tokenizer_encode(tokenizer, scratch, text, strlen(text), 0, 4, &few), -E2BIG);
    ck_assert_uint_eq(few.num, 4);
    ck_assert_mem_eq(few.ids, ids.ids, 4 * sizeof(*few.ids));
    few.num = 0;
    ck_assert_int_eq(tokenizer_encode(tokenizer, scratch, text, strlen(text), 0, num, &few), 0);
    ck_assert_uint_eq(few.num, num);
    token_ids_finish(&few);
}
END_TEST

/* Each is one piece of a megabyte; with work that grows as its square the test times out. */
START_TEST(megabyte_without_a_place_to_split_takes_linear_time)
{
    static const char *const parts[] = {
        "a", "ab",         "\xE4\xB8\xAD",     "e\xCC\x81",       ".", " ", "\n", " \n", "1",
        "<", "<|im_start", "\xCC\x81\xCC\xA3", "\xF0\x9F\x98\x80"
    };
    enum { LEN = 1 << 20 };
    struct strbuf text = { 0 };
    open_model(_i);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        strbuf_reset(&text);
        while (text.len < LEN)
            strbuf_append_text(&text, parts[i]);
        ck_assert_int_eq(encode(text.data, text.len, TOKENIZER_PARSE_SPECIAL), 0);
        ck_assert_uint_gt(ids.num, 0);
    }
    strbuf_finish(&text);
}
END_TEST

/* 1 MiB of "a": HF tokenizers gives 16,384 times the token of 64 letters. */
START_TEST(long_run_of_one_letter_merges_from_the_left)
{
    enum { LEN = (1 << 20) + 7 };
    char *text = malloc(LEN);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', LEN);
    open_model(2);
    char longest[64];
    memset(longest, 'a', sizeof(longest));
    const int32_t id = tokenizer_find(tokenizer, longest, sizeof(longest));
    ck_assert_int_ge(id, 0);

    ck_assert_int_eq(encode(text, LEN, 0), 0);
    ck_assert_uint_ge(ids.num, LEN / 64 + 1);
    for (size_t i = 0; i < LEN / 64; i++)
        ck_assert_int_eq(ids.ids[i], id);
    free(text);
}
END_TEST

RUN_ROWS("tokenizer", setup, teardown, 60, TIMES(ids_are_those_of_hf_tokenizers, NUM_MODELS),
         TIMES(ids_of_seeded_texts_are_those_of_hf_tokenizers, NUM_MODELS),
         ONCE(other_pre_tokenizers_cut_as_hf_tokenizers),
         ONCE(bytes_of_the_tokens_are_the_normalized_text),
         ONCE(special_tokens_in_data_are_no_control), ONCE(limit_keeps_the_ids_before_it),
         RANGE(megabyte_without_a_place_to_split_takes_linear_time, 2, NUM_MODELS),
         ONCE(long_run_of_one_letter_merges_from_the_left))
