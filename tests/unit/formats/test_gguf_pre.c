/* How text is cut, through GGUF and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/gguf_model.h"
#include "formats/gguf_value.h"
#include "formats/gguf_vocab.h"
#include "tests/unit/runner.h"

/* Kinds of tests/golden/tokenizer_stress.py, and what llama.cpp calls them. */
static const struct {
    const char *kind, *pre;
} named[] = {
    { "gpt2", "gpt-2" },
    { "llama3", "llama-bpe" },
    { "qwen2", "qwen2" },
    { "smollm", "smollm" },
    { "deepseek_v2", "deepseek-llm" },
    { "deepseek_v3", "deepseek-v3" },
    { "tekken", "tekken" },
    { "o200k", "gpt-4o" },
};
enum { NUM_NAMED = sizeof(named) / sizeof(named[0]) };

static const json_t *parts_of(const json_t *kinds, const char *name)
{
    size_t i;
    const json_t *kind;
    json_array_foreach(kinds, i, kind) if (strcmp(json_string_value(json_object_get(kind, "name")),
                                                  name) == 0) return json_object_get(kind, "parts");
    ck_abort_msg("no kind %s", name);
    return NULL;
}

/* A tokenizer.json that cuts as the kind does. */
static json_t *make_tokenizer(const json_t *parts)
{
    const bool ignores = json_is_true(json_object_get(parts, "model.ignore_merges"));
    return json_pack("{s:{s:s, s:b, s:{s:i, s:i, s:i}, s:[[s, s]]}, s:[], s:O?, s:O?}", "model",
                     "type", "BPE", "ignore_merges", ignores, "vocab", "a", 0, "b", 1, "ab", 2,
                     "merges", "a", "b", "added_tokens", "normalizer",
                     json_object_get(parts, "normalizer"), "pre_tokenizer",
                     json_object_get(parts, "pre_tokenizer"));
}

static int open_written(const json_t *tokenizer, struct gguf *ret_gguf, struct error *err)
{
    json_t *config = json_pack("{s:i}", "vocab_size", 3);
    const struct gguf_vocab vocab = { .tokenizer = tokenizer, .config = config, .vocab_size = 3 };
    struct gguf_writer writer = { 0 };
    char path[32];
    const int fd = memfd_create("vocab", MFD_CLOEXEC);
    int r = gguf_vocab_put(&writer, &vocab, err);
    if (r == 0)
        r = gguf_write_header(&writer, fd);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (r == 0)
        r = gguf_open(path, ret_gguf, err);
    gguf_writer_finish(&writer);
    json_decref(config);
    close(fd);
    return r;
}

/* The parts that cut; those of a byte-level alphabet cut nothing or as their own pattern. */
static void check_same_cuts(const json_t *got, const json_t *wanted)
{
    const json_t *all = json_object_get(wanted, "pretokenizers");
    const json_t *read = json_object_get(got, "pretokenizers");
    for (size_t i = 0; i + 1 < json_array_size(all); i++)
        ck_assert_int_eq(json_equal(json_array_get(read, i), json_array_get(all, i)), 1);
    ck_assert_uint_ge(json_array_size(read), json_array_size(all));
}

START_TEST(a_pre_tokenizer_comes_back_from_the_name_it_gets)
{
    struct error err = { 0 };
    json_t *kinds = json_load_file(KINDS, 0, NULL);
    const json_t *parts = parts_of(kinds, named[_i].kind);
    json_t *tokenizer = make_tokenizer(parts);
    struct gguf gguf;
    ck_assert_ptr_nonnull(tokenizer);
    ck_assert_msg(open_written(tokenizer, &gguf, &err) == 0, "%s", err.message);

    const char *name;
    size_t len;
    ck_assert_int_gt(gguf_text(&gguf, "tokenizer.ggml.pre", &name, &len, &err), 0);
    ck_assert_uint_eq(len, strlen(named[_i].pre));
    ck_assert_mem_eq(name, named[_i].pre, len);

    char *text = NULL;
    ck_assert_msg(gguf_tokenizer_json(&gguf, &text, &len, &err) == 0, "%s", err.message);
    json_t *back = json_loadb(text, len, 0, NULL);
    check_same_cuts(json_object_get(back, "pre_tokenizer"),
                    json_object_get(parts, "pre_tokenizer"));
    free(text);
    json_decref(back);
    json_decref(tokenizer);
    json_decref(kinds);
    gguf_close(&gguf);
}
END_TEST

RUN_ROWS("gguf_pre", NULL, NULL, 60,
         TIMES(a_pre_tokenizer_comes_back_from_the_name_it_gets, NUM_NAMED))
