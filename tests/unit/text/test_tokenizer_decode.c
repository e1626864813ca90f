/* From ids to text: whole texts, and token by token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "tests/unit/runner.h"
#include "text/tokenizer.h"

static struct tokenizer *tokenizer;

static void open_with(const char *normalizer, const char *decoder)
{
    struct strbuf json = { 0 };
    struct error err = { 0 };
    strbuf_printf(
        &json,
        "{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true},{\"id\":10,"
        "\"content\":\"x\xE2\x96\x81y\",\"normalized\":true}],"
        "\"normalizer\":%s,\"decoder\":%s,\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\","
        "\"byte_fallback\":true,\"vocab\":{\"?\":0,\"\xE2\x96\x81\":1,\"\xE2\x96\x81"
        "a\":2,\"b\":3,\"<0xE4>\":4,\"<0xB8>\":5,\"<0xAD>\":6,\"a\":7,"
        "\"\xE2\x96\x81\xE2\x96\x81\":8},\"merges\":[\"\xE2\x96\x81 a\"]}}",
        normalizer, decoder);
    const int r = tokenizer_from_json(json.data, json.len, NULL, 0, &tokenizer, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    strbuf_finish(&json);
}

#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" \"}"
#define LLAMA                                                                                      \
    "{\"type\":\"Sequence\",\"decoders\":[" REPLACE ",{\"type\":\"ByteFallback\"},{\"type\":"      \
    "\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define GEMMA                                                                                      \
    "{\"type\":\"Sequence\",\"decoders\":[" REPLACE                                                \
    ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}"
#define METASPACE "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\"}"

static void teardown(void)
{
    tokenizer_close(tokenizer);
    tokenizer = NULL;
}

static void expect(const int32_t *ids, size_t num, bool keep_special, const char *want)
{
    struct strbuf text = { 0 };
    ck_assert_int_eq(tokenizer_decode(tokenizer, ids, num, keep_special, &text), 0);
    ck_assert_str_eq(text.data != NULL ? text.data : "", want);
    strbuf_finish(&text);
}

#define IDS(...) (const int32_t[]){ __VA_ARGS__ }, sizeof((const int32_t[]){ __VA_ARGS__ }) / 4

START_TEST(whole_text_begins_without_its_first_space)
{
    open_with("null", LLAMA);

    expect(IDS(2, 3, 2), false, "ab a");
    expect(IDS(1, 2), false, " a"); /* one space of two */
    expect(IDS(9, 2), false, "a");
    expect(IDS(9, 2), true, "<s> a");
}
END_TEST

START_TEST(text_of_a_decoder_without_strip_keeps_its_space)
{
    open_with("null", GEMMA);

    expect(IDS(2, 3, 2), false, " ab a");
}
END_TEST

START_TEST(first_token_of_metaspace_loses_its_marks)
{
    open_with("null", METASPACE);

    expect(IDS(8, 2), false, " a"); /* the first token is two marks */
    expect(IDS(9, 2, 2), false, "a a");
    expect(IDS(10, 10), false, "xyx y");
}
END_TEST

START_TEST(bytes_become_a_character_or_one_replacement_each)
{
    open_with("null", LLAMA);

    expect(IDS(2, 4, 5, 6, 3), false,
           "a\xE4\xB8\xAD"
           "b");
    expect(IDS(4, 5, 3, 6), false,
           "\xEF\xBF\xBD\xEF\xBF\xBD"
           "b\xEF\xBF\xBD");
    expect(IDS(4, 5, 6, 4), false, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}
END_TEST

START_TEST(tokens_stand_for_bytes_that_stream)
{
    static const char *const want[] = { "?",    " ", " a", "b",   "\xE4", "\xB8",
                                        "\xAD", "a", "  ", "<s>", "x y" };
    open_with("null", LLAMA);

    for (int32_t id = 0; id < (int32_t)(sizeof(want) / sizeof(want[0])); id++) {
        size_t len;
        const char *bytes = tokenizer_bytes(tokenizer, id, &len);
        ck_assert_str_eq(bytes, want[id]);
        ck_assert_uint_eq(len, strlen(want[id]));
    }
}
END_TEST

START_TEST(ids_that_do_not_exist_stand_for_nothing)
{
    open_with("null", LLAMA);

    expect(IDS(2, 11, -1, 3), true, "ab");
    expect(NULL, 0, true, "");
}
END_TEST

START_TEST(added_token_stands_for_what_was_found_in_text)
{
    open_with("{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}", GEMMA);
    size_t len;

    ck_assert_str_eq(tokenizer_bytes(tokenizer, 10, &len), " x y");
    ck_assert_int_eq(tokenizer_find(tokenizer, "x\xE2\x96\x81y", 5), 10);
}
END_TEST

RUN_SUITE_AROUND("tokenizer_decode", NULL, teardown, whole_text_begins_without_its_first_space,
                 text_of_a_decoder_without_strip_keeps_its_space,
                 first_token_of_metaspace_loses_its_marks,
                 bytes_become_a_character_or_one_replacement_each,
                 tokens_stand_for_bytes_that_stream, ids_that_do_not_exist_stand_for_nothing,
                 added_token_stands_for_what_was_found_in_text)
