/* The best way to write a piece, against all ways; and what is not in the vocabulary. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "golden.h"
#include "tests/unit/runner.h"
#include "text/unigram.h"

enum { NUM_TOKENS = 40, TOKEN_MAX = 4, PIECE_MAX = 12 };

static struct unigram unigram;
static struct unigram_work work;
static struct pieces pieces;
static struct word_cache cache;
static struct token_ids ids;

static void setup(void)
{
    ck_assert_int_eq(word_cache_init(&cache), 0);
}

static void teardown(void)
{
    unigram_finish(&unigram);
    unigram_work_finish(&work);
    pieces_finish(&pieces);
    word_cache_finish(&cache);
    token_ids_finish(&ids);
}

static void read_model(const json_t *model)
{
    struct error err = { 0 };
    const json_t *vocab = json_object_get(model, "vocab");
    const size_t num = json_array_size(vocab);
    ck_assert_int_eq(pieces_init(&pieces, (int32_t)num, num), 0);
    for (size_t i = 0; i < num; i++) {
        const json_t *text = json_array_get(json_array_get(vocab, i), 0);
        ck_assert_int_eq(
            pieces_add(&pieces, (int32_t)i, json_string_value(text), json_string_length(text)), 0);
    }
    ck_assert_msg(unigram_read(&unigram, model, &pieces, &err) == 0, "%s", err.message);
}

static void read_text(const char *text)
{
    struct error err = { 0 };
    json_t *model;
    ck_assert_int_eq(json_read(text, strlen(text), &json_limits_file, &model, &err), 0);
    read_model(model);
    json_decref(model);
}

static void encode(const char *piece, size_t len)
{
    ids.num = 0;
    ck_assert_int_eq(unigram_encode(&unigram, &pieces, &cache, &work, piece, len, &ids), 0);
}

static void expect(const char *piece, const int32_t *want, size_t num)
{
    for (int again = 0; again < 2; again++) { /* the second time from the cache */
        encode(piece, strlen(piece));
        ck_assert_uint_eq(ids.num, num);
        ck_assert_mem_eq(ids.ids, want, num * sizeof(*want));
    }
}

/* Words of up to TOKEN_MAX letters a..c with scores of eighths, whose sums are exact. */
static json_t *random_model(uint64_t seed)
{
    json_t *vocab = json_pack("[[sf]]", "<unk>", 0.0);
    for (int i = 0; i < NUM_TOKENS; i++) {
        char token[TOKEN_MAX + 1] = { 0 };
        const uint64_t len = i < 3 ? 1 : 1 + golden_random(&seed) % TOKEN_MAX;
        for (uint64_t k = 0; k < len; k++)
            token[k] = (char)('a' + (i < 3 ? (uint64_t)i : golden_random(&seed) % 3));
        json_array_append_new(
            vocab, json_pack("[sf]", token, -(double)(1 + golden_random(&seed) % 80) / 8.0));
    }
    return json_pack("{siso}", "unk_id", 0, "vocab", vocab);
}

static double best_of(const char *piece, size_t len)
{
    double best = len == 0 ? 0.0 : -INFINITY;
    for (size_t n = 1; n <= len && n <= TOKEN_MAX; n++) {
        const int32_t id = pieces_find(&pieces, piece, n);
        if (id >= 0)
            best = fmax(best, unigram.scores[id] + best_of(piece + n, len - n));
    }
    return best;
}

START_TEST(sum_of_scores_is_the_highest_there_is)
{
    json_t *model = random_model((uint64_t)_i);
    uint64_t state = (uint64_t)_i + 1000;
    read_model(model);

    for (int round = 0; round < 100; round++) {
        char piece[PIECE_MAX];
        const size_t len = 1 + golden_random(&state) % PIECE_MAX;
        for (size_t i = 0; i < len; i++)
            piece[i] = (char)('a' + golden_random(&state) % 3);
        encode(piece, len);

        double sum = 0;
        size_t at = 0;
        for (size_t i = 0; i < ids.num; i++) {
            size_t n;
            const char *bytes = pieces_bytes(&pieces, ids.ids[i], &n);
            ck_assert(at + n <= len && memcmp(bytes, piece + at, n) == 0);
            sum += unigram.scores[ids.ids[i]];
            at += n;
        }
        ck_assert_uint_eq(at, len);
        ck_assert(sum >= best_of(piece, len));
    }
    json_decref(model);
}
END_TEST

#define VOCAB                                                                                      \
    "\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"ab\",-3],[\"b\",-1.5],[\"<0xC3>\",0],[\"<0xA9>\",0]]"

START_TEST(run_of_unknown_characters_is_one_unk)
{
    read_text("{\"unk_id\":0," VOCAB "}");

    expect("ab", (const int32_t[]){ 1, 3 }, 2);
    expect("a\xC3\xA9xyb", (const int32_t[]){ 1, 0, 3 }, 3);
}
END_TEST

START_TEST(unknown_characters_become_their_bytes)
{
    read_text("{\"unk_id\":0,\"byte_fallback\":true," VOCAB "}");

    expect("a\xC3\xA9\xC3\xA9", (const int32_t[]){ 1, 4, 5, 4, 5 }, 5);
    expect("a\xC3\xA9x", (const int32_t[]){ 1, 0 }, 2); /* a byte of the run has no token */
}
END_TEST

START_TEST(text_of_the_unk_token_is_looked_up_as_a_run)
{
    read_text("{\"unk_id\":0," VOCAB "}");

    expect("<unk>", (const int32_t[]){ 0 }, 1);
    expect("a<unk>b", (const int32_t[]){ 1, 0, 3 }, 3);
}
END_TEST

/* Scores of two tokens that sum up to that of the token which joins them, or nearly so. */
START_TEST(ties_are_decided_as_by_hf_tokenizers)
{
    json_t *ties = golden_load(GOLDEN_DIR "ties.json");
    const json_t *texts = json_object_get(ties, "texts"), *text;
    size_t i;
    read_model(json_object_get(ties, "model"));
    json_array_foreach(texts, i, text)
    {
        const json_t *want = json_array_get(json_object_get(ties, "ids"), i);
        encode(json_string_value(text), json_string_length(text));
        ck_assert_msg(ids.num == json_array_size(want), "text %zu: %zu ids", i, ids.num);
        ck_assert_int_eq(ids.ids[0], (int)json_integer_value(json_array_get(want, 0)));
    }
    json_decref(ties);
}
END_TEST

RUN_ROWS("unigram", setup, teardown, 60, TIMES(sum_of_scores_is_the_highest_there_is, 20),
         ONCE(run_of_unknown_characters_is_one_unk), ONCE(unknown_characters_become_their_bytes),
         ONCE(text_of_the_unk_token_is_looked_up_as_a_run),
         ONCE(ties_are_decided_as_by_hf_tokenizers))
