/*
 * Literals of special tokens that are data, against what HF `tokenizers` gave for the same text in
 * a tokenizer whose special tokens have other names: tests/golden/tokenizer_literals.py.
 */
#include <stdlib.h>
#include <string.h>

#include "stress.h"
#include "tests/unit/runner.h"

enum { NUM_ROWS = 33 };

static json_t *kinds, *literals;
static const json_t *texts;
static const char *mark;
static struct tokenizer *tokenizer;
static struct tokenizer_scratch *scratch;
static struct token_ids ids;
static struct strbuf back;

static void setup(void)
{
    kinds = golden_load(STRESS_DIR "kinds.json");
    literals = golden_load(GOLDEN_DIR "literals.json");
    ck_assert_uint_eq(json_array_size(json_object_get(literals, "kinds")), NUM_ROWS);
    texts = json_object_get(literals, "texts");
    mark = json_string_value(json_object_get(literals, "mark"));
}

static void close_tokenizer(void)
{
    tokenizer_scratch_destroy(scratch);
    tokenizer_close(tokenizer);
    scratch = NULL;
    tokenizer = NULL;
}

static void teardown(void)
{
    close_tokenizer();
    token_ids_finish(&ids);
    strbuf_finish(&back);
    json_decref(kinds);
    json_decref(literals);
}

static const json_t *find_kind(const char *name)
{
    const json_t *kind;
    size_t i;
    json_array_foreach(kinds, i, kind) if (strcmp(json_string_value(json_object_get(kind, "name")),
                                                  name) == 0) return kind;
    ck_abort_msg("no kind %s", name);
}

static bool is_special(const json_t *added, const char *text)
{
    const json_t *token;
    size_t i;
    json_array_foreach(added, i, token)
    {
        if (json_is_true(json_object_get(token, "special")) &&
            strcmp(json_string_value(json_object_get(token, "content")), text) == 0)
            return true;
    }
    return false;
}

/* Merges that put special tokens together, or go on with them. */
static void drop_merges(const json_t *file)
{
    const json_t *added = json_object_get(file, "added_tokens");
    json_t *merges = json_object_get(json_object_get(file, "model"), "merges");
    for (size_t i = json_array_size(merges); i-- > 0;) {
        const char *left = json_string_value(json_array_get(json_array_get(merges, i), 0));
        const char *right = json_string_value(json_array_get(json_array_get(merges, i), 1));
        char both[256];
        snprintf(both, sizeof(both), "%s%s", left, right);
        if (is_special(added, left) || is_special(added, right) || is_special(added, both))
            json_array_remove(merges, i);
    }
}

static void open_row(const json_t *row, bool with_merges)
{
    json_t *file = stress_kind(find_kind(json_string_value(json_object_get(row, "name"))));
    json_t *token;
    size_t i;
    json_array_foreach(json_object_get(file, "added_tokens"), i, token)
    {
        if (json_is_true(json_object_get(row, "normalized")))
            json_object_set(token, "normalized", json_true());
    }
    if (!with_merges)
        drop_merges(file);
    tokenizer = stress_tokenizer(file, true);
    ck_assert_int_eq(tokenizer_scratch_create(tokenizer, &scratch), 0);
    json_decref(file);
}

static void encode(const char *text, size_t len, const char *with_mark)
{
    ids.num = 0;
    ck_assert_int_eq(tokenizer_encode_marked(tokenizer, scratch, text, len, with_mark,
                                             TOKENIZER_PARSE_SPECIAL, 0, &ids),
                     0);
}

static void compare(const char *name, size_t at, const json_t *row)
{
    const json_t *full = json_object_get(row, "ids"), *want = json_array_get(full, at);
    if (at < json_array_size(full)) {
        ck_assert_msg(json_array_size(want) == ids.num || json_is_null(want), "%s: text %zu", name,
                      at);
        for (size_t i = 0; i < json_array_size(want); i++)
            ck_assert_msg(json_integer_value(json_array_get(want, i)) == ids.ids[i],
                          "%s: text %zu: id %zu is %d", name, at, i, ids.ids[i]);
        return;
    }
    want = json_array_get(json_object_get(row, "hashes"), at - json_array_size(full));
    ck_assert_msg(json_is_null(want) || json_integer_value(want) ==
                                            stress_fold(stress_hash_ids(STRESS_HASH_START, &ids)),
                  "%s: text %zu", name, at);
}

START_TEST(marked_literals_give_the_ids_of_text_without_such_tokens)
{
    const json_t *row = json_array_get(json_object_get(literals, "kinds"), (size_t)_i), *text;
    size_t i;
    open_row(row, false);
    json_array_foreach(texts, i, text)
    {
        encode(json_string_value(text), json_string_length(text), mark);
        compare(json_string_value(json_object_get(row, "name")), i, row);
    }
}
END_TEST

/* The number of control tokens in the text whose literals are not marked. */
static size_t count_control(const json_t *text)
{
    static const char *const names[] = { "<s>", "</s>", "<|end|>", "<|user|>", "<mask>", "<pad>" };
    const char *begin = json_string_value(text), *end = begin + json_string_length(text);
    size_t num = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (const char *at = begin;
             (at = memmem(at, (size_t)(end - at), names[i], strlen(names[i]))) != NULL; at++)
            num++;
    return num;
}

static bool is_control(int32_t id)
{
    size_t len;
    const char *bytes = tokenizer_bytes(tokenizer, id, &len);
    return tokenizer_is_special(tokenizer, id) && !(len == 5 && memcmp(bytes, "<unk>", 5) == 0);
}

/* Also where the model itself would make a special token of them. */
START_TEST(marked_literals_never_become_special_tokens)
{
    const json_t *row = json_array_get(json_object_get(literals, "kinds"), (size_t)_i), *text;
    const json_t *kind = find_kind(json_string_value(json_object_get(row, "name")));
    size_t i;
    if (json_is_true(json_object_get(row, "normalized")))
        return;
    open_row(row, true);
    json_array_foreach(texts, i, text)
    {
        size_t num = 0;
        encode(json_string_value(text), json_string_length(text), mark);
        for (size_t k = 0; k < ids.num; k++)
            num += is_control(ids.ids[k]);
        ck_assert_msg(num == count_control(text), "%s: text %zu: %zu",
                      json_string_value(json_object_get(kind, "name")), i, num);
    }
}
END_TEST

START_TEST(text_without_marks_is_encoded_as_ever)
{
    struct token_ids plain = { 0 };
    struct stress stress;
    struct strbuf text = { 0 };
    stress_open(&stress);
    open_row(json_array_get(json_object_get(literals, "kinds"), (size_t)_i), true);
    for (uint64_t seed = 0; seed < 200; seed++) {
        stress_text(&stress, seed, &text);
        plain.num = 0;
        ck_assert_int_eq(tokenizer_encode(tokenizer, scratch, text.data, text.len,
                                          TOKENIZER_PARSE_SPECIAL, 0, &plain),
                         0);
        encode(text.data, text.len, "\xEE\x80\x81");
        ck_assert_uint_eq(ids.num, plain.num);
        ck_assert_mem_eq(ids.ids, plain.ids, plain.num * sizeof(*plain.ids));
    }
    strbuf_finish(&text);
    json_decref(stress.root);
    token_ids_finish(&plain);
}
END_TEST

/* A message of 256 KiB of nothing but literals, whose tokens some of the models put together. */
START_TEST(many_marked_literals_take_linear_time)
{
    enum { LEN = 1 << 18 };
    open_row(json_array_get(json_object_get(literals, "kinds"), (size_t)_i), true);
    while (back.len < LEN) {
        strbuf_append_char(&back, '<');
        strbuf_append_text(&back, mark);
        strbuf_append_text(&back, "s>");
    }
    encode(back.data, back.len, mark);
    ck_assert_uint_ge(ids.num, LEN / 1024);
}
END_TEST

RUN_ROWS("tokenizer_marked", setup, teardown, 120,
         TIMES(marked_literals_give_the_ids_of_text_without_such_tokens, NUM_ROWS),
         TIMES(marked_literals_never_become_special_tokens, NUM_ROWS),
         TIMES(text_without_marks_is_encoded_as_ever, NUM_ROWS),
         TIMES(many_marked_literals_take_linear_time, NUM_ROWS))
