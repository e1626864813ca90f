/* Both ways of merging against the definition, rescanned in full after each merge. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "golden.h"
#include "tests/unit/runner.h"
#include "text/bpe.h"
#include "text/bpe_pairs.h"

enum { NUM_LETTERS = 4, NUM_MERGES = 60, PIECE_MAX = 400 };

static struct bpe bpe;
static struct pieces pieces;
static struct word_cache cache;
static struct bpe_work *work;
static struct token_ids ids;

/* A vocabulary over a..d in which later tokens join any two earlier ones: also merges whose
 * result ranks below the pairs it makes. */
static json_t *random_model(uint64_t seed)
{
    char tokens[NUM_LETTERS + NUM_MERGES][512];
    json_t *model = json_object(), *entries = json_object(), *merges = json_array();
    int num = NUM_LETTERS;
    for (int i = 0; i < NUM_LETTERS; i++) {
        snprintf(tokens[i], sizeof(tokens[i]), "%c", 'a' + i);
        json_object_set_new(entries, tokens[i], json_integer(i));
    }
    while (num < NUM_LETTERS + NUM_MERGES) {
        const char *a = tokens[golden_random(&seed) % (uint64_t)num];
        const char *b = tokens[golden_random(&seed) % (uint64_t)num];
        char joined[512];
        if (strlen(a) + strlen(b) > 20)
            continue;
        snprintf(joined, sizeof(joined), "%.20s%.20s", a, b);
        if (json_object_get(entries, joined) == NULL)
            json_object_set_new(entries, joined, json_integer(num));
        json_array_insert_new(merges, golden_random(&seed) % (json_array_size(merges) + 1),
                              json_pack("[ss]", a, b));
        strcpy(tokens[num++], joined);
    }
    json_object_set_new(model, "vocab", entries);
    json_object_set_new(model, "merges", merges);
    return model;
}

static void setup(void)
{
    ck_assert_int_eq(bpe_work_create(&work), 0);
    ck_assert_int_eq(word_cache_init(&cache), 0);
}

static void teardown(void)
{
    bpe_work_destroy(work);
    bpe_finish(&bpe);
    pieces_finish(&pieces);
    word_cache_finish(&cache);
    token_ids_finish(&ids);
}

static void read_model(const json_t *model, bool byte_level)
{
    struct error err = { 0 };
    const char *text;
    json_t *id;
    json_t *vocab = json_object_get(model, "vocab");
    ck_assert_int_eq(pieces_init(&pieces, NUM_LETTERS + NUM_MERGES, json_object_size(vocab)), 0);
    json_object_foreach(vocab, text, id) ck_assert_int_eq(
        pieces_add(&pieces, (int32_t)json_integer_value(id), text, strlen(text)), 0);
    ck_assert_msg(bpe_read(&bpe, model, &pieces, byte_level, &err) == 0, "%s", err.message);
}

static size_t merge_by_definition(const char *piece, size_t len, int32_t *out)
{
    size_t num = len;
    for (size_t i = 0; i < len; i++)
        out[i] = bpe.byte_ids[(unsigned char)piece[i]];
    for (;;) {
        uint32_t lowest = BPE_PAIRS_NONE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < num; i++)
            if (bpe_pairs_rank(&bpe, out[i], out[i + 1]) < lowest) {
                lowest = bpe_pairs_rank(&bpe, out[i], out[i + 1]);
                at = i;
            }
        if (lowest == BPE_PAIRS_NONE)
            return num;
        out[at] = bpe.merged[lowest];
        for (size_t i = at + 1; i + 1 < num; i++)
            out[i] = out[i + 1];
        num--;
    }
}

START_TEST(merging_takes_the_lowest_rank_and_of_equals_the_leftmost)
{
    json_t *model = random_model((uint64_t)_i);
    uint64_t state = (uint64_t)_i + 1000;
    read_model(model, true);

    for (int round = 0; round < 200; round++) {
        char piece[PIECE_MAX];
        int32_t want[PIECE_MAX];
        const size_t len = 1 + golden_random(&state) % (round % 4 == 0 ? PIECE_MAX : 60);
        const uint64_t letters = 1 + golden_random(&state) % NUM_LETTERS;
        for (size_t i = 0; i < len; i++)
            piece[i] = (char)('a' + golden_random(&state) % letters);
        const size_t num = merge_by_definition(piece, len, want);

        for (int again = 0; again < 2; again++) { /* the second time from the cache */
            ids.num = 0;
            ck_assert_int_eq(bpe_encode(&bpe, &pieces, &cache, work, piece, len, &ids), 0);
            ck_assert_uint_eq(ids.num, num);
            ck_assert_mem_eq(ids.ids, want, num * sizeof(*want));
        }
    }
    json_decref(model);
}
END_TEST

static void read_text(const char *text, bool byte_level)
{
    struct error err = { 0 };
    json_t *model;
    ck_assert_int_eq(json_read(text, strlen(text), &json_limits_file, &model, &err), 0);
    read_model(model, byte_level);
    json_decref(model);
}

static void expect(const char *piece, const int32_t *want, size_t num)
{
    ids.num = 0;
    ck_assert_int_eq(bpe_encode(&bpe, &pieces, &cache, work, piece, strlen(piece), &ids), 0);
    ck_assert_uint_eq(ids.num, num);
    if (num > 0)
        ck_assert_mem_eq(ids.ids, want, num * sizeof(*want));
}

START_TEST(byte_without_a_token_is_dropped)
{
    read_text("{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}", true);

    expect("axb", (const int32_t[]){ 2 }, 1);
    expect("xx", NULL, 0);
}
END_TEST

START_TEST(byte_without_a_token_becomes_unk)
{
    read_text("{\"vocab\":{\"a\":0,\"?\":1},\"merges\":[],\"unk_token\":\"?\"}", true);

    expect("axxa", (const int32_t[]){ 0, 1, 1, 0 }, 4);
}
END_TEST

START_TEST(run_of_unks_is_fused)
{
    read_text("{\"vocab\":{\"a\":0,\"?\":1},\"merges\":[],\"unk_token\":\"?\",\"fuse_unk\":true}",
              true);

    expect("axxaxxx", (const int32_t[]){ 0, 1, 0, 1 }, 4);
}
END_TEST

START_TEST(pair_listed_twice_has_its_last_rank)
{
    read_text(
        "{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3},\"merges\":[\"a b\",\"b a\",\"a b\"]}",
        true);

    expect("aba", (const int32_t[]){ 0, 3 }, 2);
}
END_TEST

/* A model over characters whose tokens hold the mark in front, behind a, or not at all. */
static const char char_model[] =
    "{\"vocab\":{\"_\":0,\"a\":1,\"b\":2,\"\xE2\x96\x81\":3,\"\xE2\x96\x81"
    "b\":4,\"a\xE2\x96\x81\":5,\"ab\":6,\"<0xC3>\":7,\"<0xA9>\":8},"
    "\"merges\":[\"\xE2\x96\x81 b\",\"a \xE2\x96\x81\",\"a b\"],\"unk_token\":\"_\"%s}";

static void read_chars(const char *options)
{
    char text[512];
    snprintf(text, sizeof(text), char_model, options);
    read_text(text, false);
}

START_TEST(characters_without_a_token_become_bytes_or_unk)
{
    read_chars(",\"byte_fallback\":true");

    expect("a\xC3\xA9"
           "b",
           (const int32_t[]){ 1, 7, 8, 2 }, 4);
    expect("a\xC3\xA8"
           "b",
           (const int32_t[]){ 1, 0, 2 }, 3); /* <0xA8> is missing */
    expect("xyb", (const int32_t[]){ 0, 0, 2 }, 3);
}
END_TEST

START_TEST(unks_fuse_past_characters_that_become_bytes)
{
    read_chars(",\"byte_fallback\":true,\"fuse_unk\":true");

    expect("x\xC3\xA9y"
           "b",
           (const int32_t[]){ 7, 8, 0, 2 }, 4); /* as HF orders them */
}
END_TEST

START_TEST(text_is_cut_only_where_no_token_joins)
{
    read_chars("");

    ck_assert(bpe.cuts && bpe.joins['a'] && !bpe.joins['b']);
    expect("b\xE2\x96\x81"
           "b",
           (const int32_t[]){ 2, 4 }, 2);
    expect("a\xE2\x96\x81"
           "a",
           (const int32_t[]){ 5, 1 }, 2);
    expect("ab\xE2\x96\x81", (const int32_t[]){ 6, 3 }, 2);
}
END_TEST

/* Random texts with and without the cuts; a vocabulary in which some words end in the mark. */
START_TEST(cutting_changes_no_id)
{
    static const char *const parts[] = { "a", "b", "\xE2\x96\x81", "\xC3\xA9", "x" };
    struct token_ids uncut = { 0 };
    uint64_t state = 5;
    read_chars(",\"byte_fallback\":true,\"fuse_unk\":true");

    for (int round = 0; round < 3000; round++) {
        struct strbuf text = { 0 };
        for (uint64_t n = 1 + golden_random(&state) % 40; n > 0; n--)
            strbuf_append_text(&text, parts[golden_random(&state) % 5]);
        ids.num = uncut.num = 0;
        bpe.cuts = true;
        ck_assert_int_eq(bpe_encode(&bpe, &pieces, &cache, work, text.data, text.len, &ids), 0);
        bpe.cuts = false;
        ck_assert_int_eq(bpe_encode(&bpe, &pieces, &cache, work, text.data, text.len, &uncut), 0);
        ck_assert_uint_eq(ids.num, uncut.num);
        ck_assert_mem_eq(ids.ids, uncut.ids, ids.num * sizeof(*ids.ids));
        strbuf_finish(&text);
    }
    token_ids_finish(&uncut);
}
END_TEST

RUN_ROWS("bpe", setup, teardown, 60,
         TIMES(merging_takes_the_lowest_rank_and_of_equals_the_leftmost, 30),
         ONCE(byte_without_a_token_is_dropped), ONCE(byte_without_a_token_becomes_unk),
         ONCE(run_of_unks_is_fused), ONCE(pair_listed_twice_has_its_last_rank),
         ONCE(characters_without_a_token_become_bytes_or_unk),
         ONCE(unks_fuse_past_characters_that_become_bytes),
         ONCE(text_is_cut_only_where_no_token_joins), ONCE(cutting_changes_no_id))
