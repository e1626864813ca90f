/* A GGUF file says what the files of a directory say: Ringlet's both ways. */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "frontend/session/model_files.h"
#include "tests/unit/runner.h"

#define RINGLET SOURCE_ROOT "/models/ringlet"
#define GGUF    SOURCE_ROOT "/tests/golden/gguf/"

static struct error err;

static struct tokenizer *open_tokenizer(const char *path)
{
    struct tokenizer *tokenizer = NULL;
    ck_assert_msg(model_files_tokenizer(path, &tokenizer, &err) == 0, "%s", err.message);
    return tokenizer;
}

static void encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                   const json_t *text, unsigned flags, struct token_ids *ids)
{
    ids->num = 0;
    ck_assert_int_eq(tokenizer_encode(tokenizer, scratch, json_string_value(text),
                                      json_string_length(text), flags, 0, ids),
                     0);
}

START_TEST(texts_have_the_ids_of_tokenizer_json)
{
    static const unsigned flags[] = { 0, TOKENIZER_ADD_SPECIAL,
                                      TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL };
    struct tokenizer *a = open_tokenizer(RINGLET), *b = open_tokenizer(GGUF "vocab_gpt2.gguf");
    struct tokenizer_scratch *scratch_a, *scratch_b;
    struct token_ids ids_a = { 0 }, ids_b = { 0 };
    json_t *root, *text;
    size_t i;
    ck_assert_int_eq(json_read_file(SOURCE_ROOT "/tests/golden/tokenizer/texts.json", 16 << 20,
                                    &json_limits_file, &root, &err),
                     0);
    ck_assert_int_eq(tokenizer_scratch_create(a, &scratch_a), 0);
    ck_assert_int_eq(tokenizer_scratch_create(b, &scratch_b), 0);
    ck_assert_uint_gt(json_array_size(json_object_get(root, "texts")), 100);
    json_array_foreach(json_object_get(root, "texts"), i,
                       text) for (size_t f = 0; f < sizeof(flags) / sizeof(flags[0]); f++)
    {
        encode(a, scratch_a, text, flags[f], &ids_a);
        encode(b, scratch_b, text, flags[f], &ids_b);
        ck_assert_uint_eq(ids_a.num, ids_b.num);
        if (ids_a.num > 0)
            ck_assert_mem_eq(ids_a.ids, ids_b.ids, ids_a.num * sizeof(int32_t));
    }
    token_ids_finish(&ids_a);
    token_ids_finish(&ids_b);
    tokenizer_scratch_destroy(scratch_a);
    tokenizer_scratch_destroy(scratch_b);
    tokenizer_close(a);
    tokenizer_close(b);
    json_decref(root);
}
END_TEST

START_TEST(ids_have_the_bytes_of_tokenizer_json)
{
    struct tokenizer *a = open_tokenizer(RINGLET), *b = open_tokenizer(GGUF "vocab_gpt2.gguf");
    ck_assert_int_eq(tokenizer_num_ids(a), tokenizer_num_ids(b));
    for (int32_t id = 0; id < tokenizer_num_ids(a); id++) {
        size_t len_a, len_b;
        const char *bytes_a = tokenizer_bytes(a, id, &len_a);
        const char *bytes_b = tokenizer_bytes(b, id, &len_b);
        ck_assert_uint_eq(len_a, len_b);
        ck_assert(len_a == 0 || memcmp(bytes_a, bytes_b, len_a) == 0);
        ck_assert_int_eq(tokenizer_is_special(a, id), tokenizer_is_special(b, id));
    }
    tokenizer_close(a);
    tokenizer_close(b);
}
END_TEST

static uint64_t hash_ids(const struct token_ids *ids)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < ids->num; i++)
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((uint32_t)ids->ids[i] >> shift & 0xFFu)) * 0x100000001B3u;
    return hash;
}

/* From scores alone; sentencepiece itself is what they are compared with. */
START_TEST(texts_have_the_ids_of_sentencepiece)
{
    struct tokenizer *tokenizer = open_tokenizer(GGUF "vocab_llama.gguf");
    struct tokenizer_scratch *scratch;
    struct token_ids ids = { 0 };
    json_t *root, *text;
    size_t i;
    FILE *file = fopen(GGUF "vocab_llama.hashes", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(json_read_file(SOURCE_ROOT "/tests/golden/tokenizer/texts.json", 16 << 20,
                                    &json_limits_file, &root, &err),
                     0);
    ck_assert_int_eq(tokenizer_scratch_create(tokenizer, &scratch), 0);
    json_array_foreach(json_object_get(root, "texts"), i, text)
    {
        uint64_t wanted;
        ck_assert_int_eq(fscanf(file, "%" SCNx64, &wanted), 1);
        encode(tokenizer, scratch, text, 0, &ids);
        ck_assert_msg(hash_ids(&ids) == wanted, "text %zu: other ids than sentencepiece's", i);
        encode(tokenizer, scratch, text, TOKENIZER_ADD_SPECIAL, &ids);
        ck_assert(ids.num > 0 && ids.ids[0] == 1); /* bos, as is the rule where no key says */
    }
    token_ids_finish(&ids);
    tokenizer_scratch_destroy(scratch);
    tokenizer_close(tokenizer);
    json_decref(root);
    fclose(file);
}
END_TEST

static const char *text_of(const json_t *config, const char *key)
{
    return json_string_value(json_object_get(config, key));
}

START_TEST(a_directory_and_a_gguf_file_say_the_same)
{
    struct model_files a, b;
    ck_assert_int_eq(model_files_read(RINGLET, &a, &err), 0);
    ck_assert_msg(model_files_read(GGUF "llama_gqa_mixed.gguf", &b, &err) == 0, "%s", err.message);
    ck_assert_str_eq(text_of(b.model, "model_type"), "llama");
    ck_assert_ptr_null(json_object_get(b.tokenizer, "chat_template"));
    ck_assert_uint_eq(json_array_size(json_object_get(b.generation, "eos_token_id")), 0);
    model_files_finish(&b);
    model_files_finish(&a);
}
END_TEST

START_TEST(a_file_without_a_tokenizer_or_tensors_is_told)
{
    struct tokenizer *tokenizer = NULL;
    struct model_files files;
    ck_assert_int_eq(model_files_tokenizer(GGUF "llama_gqa_mixed.gguf", &tokenizer, &err),
                     -ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.message, "tokenizer.ggml.model is \"\""));
    ck_assert_int_eq(model_files_read(GGUF "vocab_gpt2.gguf", &files, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "token_embd.weight is missing"));
    model_files_finish(&files);
}
END_TEST

RUN_SUITE("model_files", texts_have_the_ids_of_tokenizer_json, texts_have_the_ids_of_sentencepiece,
          ids_have_the_bytes_of_tokenizer_json, a_directory_and_a_gguf_file_say_the_same,
          a_file_without_a_tokenizer_or_tensors_is_told)
