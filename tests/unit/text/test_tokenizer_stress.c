/*
 * Every kind of tokenizer against what HF `tokenizers` gave for 20,000 seeded texts:
 * tests/golden/tokenizer_stress.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"
#include "tests/unit/runner.h"

enum { NUM_KINDS = 18, NUM_TEXTS = 20000, NUM_IDS = 500 };

static struct stress stress;
static json_t *kinds;
static struct tokenizer *tokenizer;
static struct tokenizer_scratch *scratch;
static struct token_ids ids;
static struct strbuf text, back;

static void setup(void)
{
    stress_open(&stress);
    kinds = golden_load(STRESS_DIR "kinds.json");
    ck_assert_uint_eq(json_array_size(kinds), NUM_KINDS);
}

static void teardown(void)
{
    tokenizer_scratch_destroy(scratch);
    tokenizer_close(tokenizer);
    token_ids_finish(&ids);
    strbuf_finish(&text);
    strbuf_finish(&back);
    json_decref(kinds);
    json_decref(stress.root);
}

static void open_kind(const json_t *kind, bool by_hand)
{
    json_t *file = stress_kind(kind);
    tokenizer = stress_tokenizer(file, by_hand);
    ck_assert_int_eq(tokenizer_scratch_create(tokenizer, &scratch), 0);
    json_decref(file);
}

static char *load(const char *name, const char *ending, size_t *ret_len)
{
    char path[512], *data;
    struct error err = { 0 };
    snprintf(path, sizeof(path), "%s%s.%s", STRESS_DIR, name, ending);
    ck_assert_msg(file_read(path, 1 << 20, &data, ret_len, &err) == 0, "%s", err.message);
    return data;
}

/* Even texts with special tokens, odd ones without. */
static void encode(uint64_t seed)
{
    stress_text(&stress, seed, &text);
    ids.num = 0;
    ck_assert_int_eq(
        tokenizer_encode(tokenizer, scratch, text.data, text.len,
                         seed % 2 == 0 ? TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL : 0, 0,
                         &ids),
        0);
    strbuf_reset(&back);
    strbuf_append(&back, "", 0);
    ck_assert_int_eq(tokenizer_decode(tokenizer, ids.ids, ids.num, true, &back), 0);
}

static uint32_t hash(void)
{
    return stress_fold(stress_hash(stress_hash_ids(STRESS_HASH_START, &ids), back.data, back.len));
}

START_TEST(ids_and_text_are_those_of_hf_tokenizers)
{
    const json_t *kind = json_array_get(kinds, (size_t)_i);
    const char *name = json_string_value(json_object_get(kind, "name"));
    size_t len;
    char *hashes = load(name, "hashes", &len);
    open_kind(kind, true);
    ck_assert_uint_eq(len, NUM_TEXTS * sizeof(uint32_t));

    for (uint64_t seed = 0; seed < NUM_TEXTS; seed++) {
        uint32_t want;
        memcpy(&want, hashes + seed * sizeof(want), sizeof(want));
        encode(seed);
        ck_assert_msg(hash() == want, "%s: seed %d", name, (int)seed);
    }
    free(hashes);
}
END_TEST

START_TEST(first_ids_are_those_of_hf_tokenizers)
{
    const json_t *kind = json_array_get(kinds, (size_t)_i);
    const char *name = json_string_value(json_object_get(kind, "name"));
    size_t len, at = 0;
    char *lists = load(name, "ids", &len);
    open_kind(kind, false);

    for (uint64_t seed = 0; seed < NUM_IDS; seed++) {
        uint16_t num, id;
        ck_assert_uint_ge(len - at, sizeof(num));
        memcpy(&num, lists + at, sizeof(num));
        at += sizeof(num);
        ck_assert_uint_ge(len - at, num * sizeof(id));
        encode(seed);
        ck_assert_msg(ids.num == num, "%s: seed %d: %zu ids, wanted %d", name, (int)seed, ids.num,
                      num);
        for (size_t i = 0; i < num; i++, at += sizeof(id)) {
            memcpy(&id, lists + at, sizeof(id));
            ck_assert_msg(ids.ids[i] == id, "%s: seed %d: id %zu is %d, wanted %d", name, (int)seed,
                          i, ids.ids[i], id);
        }
    }
    ck_assert_uint_eq(at, len);
    free(lists);
}
END_TEST

/* Each is one piece of 256 KiB; with work that grows as its square the test times out. */
START_TEST(long_text_without_a_place_to_split_takes_linear_time)
{
    static const char *const parts[] = { "a",
                                         "ab",
                                         " ",
                                         "\n ",
                                         "1",
                                         "the",
                                         "\xE4\xB8\xAD",
                                         "\xE2\x96\x81",
                                         "x\xE2\x96\x81",
                                         "\xCC\x81\xCC\xA3",
                                         "\xF0\x9F\x98\x80",
                                         "<0x41>",
                                         "<|end|>" };
    enum { LEN = 1 << 18 };
    open_kind(json_array_get(kinds, (size_t)_i), true);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        strbuf_reset(&text);
        while (text.len < LEN)
            strbuf_append_text(&text, parts[i]);
        ids.num = 0;
        ck_assert_int_eq(tokenizer_encode(tokenizer, scratch, text.data, text.len,
                                          TOKENIZER_PARSE_SPECIAL, 0, &ids),
                         0);
    }
}
END_TEST

RUN_ROWS("tokenizer_stress", setup, teardown, 240,
         TIMES(ids_and_text_are_those_of_hf_tokenizers, NUM_KINDS),
         TIMES(first_ids_are_those_of_hf_tokenizers, NUM_KINDS),
         RANGE(long_text_without_a_place_to_split_takes_linear_time, 11, NUM_KINDS))
