/* What a tokenizer.json may hold, and the sentence for what it may not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "tests/unit/runner.h"
#include "text/tokenizer.h"

static struct tokenizer *tokenizer;
static struct error err;

static void teardown(void)
{
    tokenizer_close(tokenizer);
    tokenizer = NULL;
    err = (struct error){ 0 };
}

/* A small file that is right, with its values as JSON text: NULL takes the usual one. */
struct file {
    const char *added, *normalizer, *pre, *post, *decoder, *options, *vocab, *merges;
};

static const char *or_else(const char *text, const char *usual)
{
    return text != NULL ? text : usual;
}

static int open_file(const struct file *file, const char *config)
{
    struct strbuf json = { 0 };
    strbuf_printf(&json, "{\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,",
                  or_else(file->added, "{\"id\":7,\"content\":\"<s>\",\"special\":true}"),
                  or_else(file->normalizer, "null"),
                  or_else(file->pre, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"));
    strbuf_printf(&json,
                  "\"post_processor\":%s,\"decoder\":%s,\"model\":{%s,\"vocab\":%s,\"merges\":%s}}",
                  or_else(file->post, "null"), or_else(file->decoder, "{\"type\":\"ByteLevel\"}"),
                  or_else(file->options, "\"type\":\"BPE\""),
                  or_else(file->vocab, "{\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3}"),
                  or_else(file->merges, "[\"a b\"]"));
    const int r = tokenizer_from_json(json.data, json.len, config,
                                      config != NULL ? strlen(config) : 0, &tokenizer, &err);
    strbuf_finish(&json);
    return r;
}

static const struct {
    struct file file;
    int code;
    const char *sentence;
} bad[] = {
    { { .normalizer = "{\"type\":\"Nmt\"}" },
      -ENOTSUP,
      "normalizer.type is \"Nmt\", supported are NFC, NFD," },
    { { .normalizer = "[]" }, -EINVAL, "normalizer is a list, wanted an object" },
    { { .normalizer = "{\"type\":\"Sequence\"}" },
      -EINVAL,
      "normalizer.normalizers is missing, wanted a list" },
    { { .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}" },
      -ENOTSUP,
      "normalizer.normalizers[0].type is \"Nmt\"" },
    { { .normalizer = "{\"type\":\"Prepend\"}" }, -EINVAL, "normalizer.prepend is missing" },
    { { .normalizer = "{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"String\":\"\"}}" },
      -ENOTSUP,
      "normalizer.pattern is empty" },
    { { .pre = "{\"type\":\"Bert\"}" }, -ENOTSUP, "pre_tokenizer.type is \"Bert\"" },
    { { .pre = "{\"type\":\"Metaspace\"}" }, -EINVAL, "pre_tokenizer.replacement is missing" },
    { { .pre = "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}" },
      -EINVAL,
      "pre_tokenizer.replacement is \"ab\", wanted one character" },
    { { .pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}" },
      -EINVAL,
      "pre_tokenizer.prepend_scheme is none of always, first, never" },
    { { .pre = "null" }, -ENOTSUP, "the decoder has a ByteLevel and the pre_tokenizer has none" },
    { { .pre = "{\"type\":\"Digits\"}" },
      -ENOTSUP,
      "the decoder has a ByteLevel and the pre_tokenizer has none" },
    { { .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":"
               "\"Digits\"}]}" },
      -ENOTSUP,
      "pretokenizers[1] stands behind ByteLevel" },
    { { .pre = "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(\"}}" },
      -EINVAL,
      "split pattern" },
    { { .pre = "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{}}" },
      -EINVAL,
      "pre_tokenizer.pattern holds no text called Regex or String" },
    { { .pre = "{\"type\":\"Split\",\"behavior\":\"Sometimes\",\"pattern\":{\"String\":\"a\"}}" },
      -ENOTSUP,
      "behavior is \"Sometimes\"" },
    { { .pre = "{\"type\":\"ByteLevel\",\"use_regex\":1}" },
      -EINVAL,
      "pre_tokenizer.use_regex is an integer, wanted true or false" },
    { { .pre = "{\"type\":7}" }, -EINVAL, "pre_tokenizer.type is an integer, wanted a string" },
    { { .decoder = "null" }, -ENOTSUP, "decoder is missing" },
    { { .decoder = "{\"type\":\"Fuse\"}" },
      -ENOTSUP,
      "the pre_tokenizer has a ByteLevel and the decoder has none" },
    { { .decoder = "{\"type\":\"CTC\"}" }, -ENOTSUP, "decoder.type is \"CTC\"" },
    { { .decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":"
                   "\"ByteLevel\"}]}" },
      -ENOTSUP,
      "decoder.decoders[1] stands behind Fuse" },
    { { .decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":"
                   "\"ByteFallback\"}]}" },
      -ENOTSUP,
      "decoder.decoders[1] stands beside a ByteLevel" },
    { { .decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                   "\"content\":\" \",\"start\":1,\"stop\":1}]}" },
      -ENOTSUP,
      "strips the end of a text" },
    { { .decoder = "{\"type\":\"Metaspace\",\"replacement\":\"\"}" },
      -EINVAL,
      "decoder.replacement is \"\", wanted one character" },
    { { .post = "{\"type\":\"RobertaTemplate\"}" },
      -ENOTSUP,
      "post_processor.type is \"RobertaTemplate\"" },
    { { .post = "{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"x\",6]}" },
      -EINVAL,
      "post_processor.sep[1] is no token's id" },
    { { .post = "{\"type\":\"TemplateProcessing\",\"single\":[]}" },
      -EINVAL,
      "holds no Sequence \"A\"" },
    { { .post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}" },
      -EINVAL,
      "wanted \"A\"" },
    { { .post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
                "\"special_tokens\":{}}" },
      -EINVAL,
      "special_tokens.x is missing" },
    { { .post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
                "\"special_tokens\":{\"x\":{\"ids\":[5]}}}" },
      -EINVAL,
      "ids[0] is no token's id" },
    { { .options = "\"type\":\"WordPiece\"" },
      -ENOTSUP,
      "model.type is \"WordPiece\", supported are BPE, Unigram" },
    { { .options = "\"type\":\"Unigram\"" }, -EINVAL, "model.vocab is an object, wanted a list" },
    { { .options = "\"type\":\"Unigram\"", .vocab = "[[\"a\",0.0]]" },
      -ENOTSUP,
      "pre_tokenizer has a ByteLevel, wanted none before a Unigram model" },
    { { .options = "\"type\":\"Unigram\",\"unk_id\":0",
        .vocab = "[[\"a\"]]",
        .pre = "null",
        .decoder = "{\"type\":\"Fuse\"}" },
      -EINVAL,
      "model.vocab[0] is not a text with a score" },
    { { .options = "\"type\":\"Unigram\",\"unk_id\":1",
        .vocab = "[[\"a\",0]]",
        .pre = "null",
        .decoder = "{\"type\":\"Fuse\"}",
        .added = "" },
      -EINVAL,
      "model.unk_id is 1, wanted 0 to 0" },
    { { .options = "\"type\":\"Unigram\"",
        .vocab = "[[\"a\",0]]",
        .pre = "null",
        .decoder = "{\"type\":\"Fuse\"}" },
      -ENOTSUP,
      "model.unk_id is null, wanted the id of a token" },
    { { .options = "\"dropout\":0.1" }, -ENOTSUP, "model.dropout is set" },
    { { .options = "\"byte_fallback\":true" }, -ENOTSUP, "model.byte_fallback is set" },
    { { .options = "\"end_of_word_suffix\":\"</w>\"" },
      -ENOTSUP,
      "model.end_of_word_suffix is set" },
    { { .options = "\"unk_token\":3" }, -EINVAL, "model.unk_token is an integer" },
    { { .vocab = "[]" }, -EINVAL, "model.vocab is a list, wanted an object" },
    { { .vocab = "{\"a\":0,\"b\":0}" }, -EINVAL, "id 0 of \"b\" belongs to another token" },
    { { .vocab = "{\"a\":-1}" }, -EINVAL, "id of \"a\" is no integer from 0 to 1048575" },
    { { .vocab = "{\"a\":1048576}" }, -EINVAL, "id of \"a\" is no integer from 0 to 1048575" },
    { { .vocab = "{\"a\":\"0\"}" }, -EINVAL, "id of \"a\" is no integer" },
    { { .merges = "{}" }, -EINVAL, "model.merges is an object, wanted a list" },
    { { .merges = "[\"a\"]" }, -EINVAL, "model.merges[0] is neither" },
    { { .merges = "[[\"a\",\"b\"],[\"a\"]]" }, -EINVAL, "model.merges[1] is neither" },
    { { .merges = "[\"a c\"]" }, -EINVAL, "merges[0]: right side \"c\" is not in model.vocab" },
    { { .merges = "[\"b a\"]" }, -EINVAL, "merges[0]: result \"ba\" is not in model.vocab" },
    { { .added = "{\"id\":0,\"content\":\"<s>\"}" },
      -EINVAL,
      "added_tokens[0].id is 0, which another token has" },
    { { .added = "{\"id\":5,\"content\":\"ab\"}" },
      -EINVAL,
      "added_tokens[0].id is 5, model.vocab gives the text id 2" },
    { { .added = "{\"id\":5,\"content\":\"\"}" }, -EINVAL, "added_tokens[0].content has 0 bytes" },
    { { .added = "{\"id\":5,\"content\":\"x\"},{\"id\":5,\"content\":\"y\"}" },
      -EINVAL,
      "added_tokens[1].id is 5, which another token has" },
    { { .added = "{\"id\":1048576,\"content\":\"x\"}" },
      -EINVAL,
      "added_tokens[0].id is 1048576, wanted 0 to 1048575" },
    { { .added = "{\"id\":5,\"content\":\"x\",\"lstrip\":\"no\"}" },
      -EINVAL,
      "added_tokens[0].lstrip is a string" },
    { { .added = "7" }, -EINVAL, "added_tokens[0] is an integer, wanted an object" },
};

START_TEST(broken_file_is_refused_in_a_sentence)
{
    const int r = open_file(&bad[_i].file, NULL);

    ck_assert_ptr_null(tokenizer);
    ck_assert_msg(r == bad[_i].code, "returned %d: %s", r, err.message);
    ck_assert_int_eq(err.code, r);
    ck_assert_msg(strstr(err.message, bad[_i].sentence) != NULL, "%s", err.message);
    ck_assert_msg(strncmp(err.message, "tokenizer.json", 14) == 0, "%s", err.message);
}
END_TEST

START_TEST(file_that_is_no_json_is_refused)
{
    ck_assert_int_eq(tokenizer_from_json("{", 1, NULL, 0, &tokenizer, &err), -EINVAL);
    ck_assert_int_eq(tokenizer_from_json("[]", 2, NULL, 0, &tokenizer, &err), -EINVAL);
    ck_assert_int_eq(tokenizer_from_json("{}", 2, NULL, 0, &tokenizer, &err), -EINVAL);
    ck_assert_str_eq(err.message, "tokenizer.json: model is missing, wanted an object");
    ck_assert_int_eq(tokenizer_open("/nonexistent", &tokenizer, &err), -ENOENT);
}
END_TEST

START_TEST(ids_may_have_gaps)
{
    size_t len;
    ck_assert_msg(open_file(&(struct file){ 0 }, NULL) == 0, "%s", err.message);

    ck_assert_int_eq(tokenizer_num_ids(tokenizer), 8);
    ck_assert_ptr_null(tokenizer_bytes(tokenizer, 5, &len));
    ck_assert_uint_eq(len, 0);
    ck_assert_ptr_null(tokenizer_bytes(tokenizer, -1, &len));
    ck_assert_ptr_null(tokenizer_bytes(tokenizer, 8, &len));
    ck_assert_str_eq(tokenizer_bytes(tokenizer, 7, &len), "<s>");
    ck_assert_str_eq(tokenizer_bytes(tokenizer, 3, &len), " ");
    ck_assert(tokenizer_is_special(tokenizer, 7));
    ck_assert(!tokenizer_is_special(tokenizer, 0) && !tokenizer_is_special(tokenizer, 99));
}
END_TEST

START_TEST(tokens_are_found_by_their_text)
{
    ck_assert_msg(open_file(&(struct file){ 0 }, NULL) == 0, "%s", err.message);

    ck_assert_int_eq(tokenizer_find(tokenizer, "<s>", 3), 7);
    ck_assert_int_eq(tokenizer_find(tokenizer, "ab", 2), 2);
    ck_assert_int_eq(tokenizer_find(tokenizer, " ", 1), 3);
    ck_assert_int_eq(tokenizer_find(tokenizer, "ba", 2), -1);
    ck_assert_int_eq(tokenizer_find(tokenizer, "", 0), -1);
}
END_TEST

START_TEST(bos_comes_from_the_template_or_from_the_config)
{
    static const struct {
        const char *post, *config;
        int32_t bos;
    } rows[] = {
        { NULL, NULL, -1 },
        { NULL, "{\"bos_token\":\"<s>\"}", -1 },
        { NULL, "{\"bos_token\":\"<s>\",\"add_bos_token\":false}", -1 },
        { NULL, "{\"bos_token\":\"<s>\",\"add_bos_token\":true}", 7 },
        { NULL, "{\"bos_token\":{\"content\":\"ab\"},\"add_bos_token\":true}", 2 },
        { "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{"
          "\"Sequence\":{\"id\":\"A\"}}],"
          "\"special_tokens\":{\"x\":{\"ids\":[1]}}}",
          "{\"bos_token\":\"<s>\",\"add_bos_token\":true}", 1 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(open_file(&(struct file){ .post = rows[i].post }, rows[i].config) == 0, "%s",
                      err.message);
        ck_assert_int_eq(tokenizer_bos_id(tokenizer), rows[i].bos);
        teardown();
    }
    ck_assert_int_eq(
        open_file(&(struct file){ 0 }, "{\"bos_token\":\"<x>\",\"add_bos_token\":true}"), -EINVAL);
    ck_assert_str_eq(err.message,
                     "tokenizer_config.json: bos_token \"<x>\" is no token of tokenizer.json");
    ck_assert_int_eq(open_file(&(struct file){ 0 }, "{\"add_bos_token\":true}"), -EINVAL);
}
END_TEST

START_TEST(bound_of_a_token_accounts_for_what_is_swallowed)
{
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2}";
    const char *const strip = "{\"id\":7,\"content\":\"<s>\",\"rstrip\":true}";
    ck_assert_int_eq(open_file(&(struct file){ .vocab = vocab }, NULL), 0);
    ck_assert_uint_eq(tokenizer_max_token_bytes(tokenizer),
                      SIZE_MAX); /* unknown bytes are dropped */
    teardown();

    ck_assert_int_eq(tokenizer_open(SOURCE_ROOT "/models/ringlet", &tokenizer, &err), 0);
    ck_assert_uint_eq(tokenizer_max_token_bytes(tokenizer) % 4, 0); /* NFC may shorten */
    ck_assert_uint_lt(tokenizer_max_token_bytes(tokenizer), 400);
    teardown();

    ck_assert_int_eq(open_file(&(struct file){ .vocab = vocab, .added = strip }, NULL), 0);
    ck_assert_uint_eq(tokenizer_max_token_bytes(tokenizer), SIZE_MAX);
}
END_TEST

RUN_ROWS("tokenizer_parts", NULL, teardown, 60,
         TIMES(broken_file_is_refused_in_a_sentence, sizeof(bad) / sizeof(bad[0])),
         ONCE(file_that_is_no_json_is_refused), ONCE(ids_may_have_gaps),
         ONCE(tokens_are_found_by_their_text), ONCE(bos_comes_from_the_template_or_from_the_config),
         ONCE(bound_of_a_token_accounts_for_what_is_swallowed))
