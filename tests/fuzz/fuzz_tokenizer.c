/*
 * fuzz_tokenizer.c - tokenizer.json of any kind, and any text through good ones
 *
 * The first byte chooses: 'j' is followed by a tokenizer.json, a byte FF and a text; a digit
 * by a text for one of the recorded tokenizers, of every kind, U+E000 in it being text or a mark.
 * There, splitting by hand must give what PCRE2 gives, and of Ringlet's ids the bytes must be the
 * text in NFC.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const files[] = {
    SOURCE_ROOT "/models/ringlet/tokenizer.json",
    SOURCE_ROOT "/tests/golden/tokenizer/gpt2/tokenizer.json",
    SOURCE_ROOT "/tests/golden/tokenizer/llama3/tokenizer.json",
    SOURCE_ROOT "/tests/golden/tokenizer/qwen2/tokenizer.json",
};
enum { NUM_FILES = 4, NUM_KINDS = 18, NUM_TOKENIZERS = NUM_FILES + NUM_KINDS };
enum { RINGLET = 0, BY_HAND = 0, PCRE2 = 1 };
enum { MARKED = 4 }; /* a flag of this program, beside those of the tokenizer */

#define STRESS_DIR SOURCE_ROOT "/tests/golden/tokenizer_stress/"

static struct tokenizer *tokenizers[NUM_TOKENIZERS][2];

static void check(bool good)
{
    if (!good)
        abort();
}

static void load_both(int i, const char *json, size_t len)
{
    for (int how = BY_HAND; how <= PCRE2; how++)
        check(tokenizer_parts_from_json(json, len, NULL, 0, how == BY_HAND, &tokenizers[i][how],
                                        NULL) == 0);
}

/* A tokenizer file with the parts of a kind in place of its own. */
static void load_kind(int i, const json_t *kind)
{
    char path[512];
    const char *key;
    json_t *file, *value;
    snprintf(path, sizeof(path), "%s%s.json", STRESS_DIR,
             json_string_value(json_object_get(kind, "tokenizer")));
    check(json_read_file(path, 1 << 20, &json_limits_file, &file, NULL) == 0);
    json_object_foreach(json_object_get(kind, "parts"), key, value)
    {
        const bool of_model = strncmp(key, "model.", 6) == 0;
        json_object_set(of_model ? json_object_get(file, "model") : file, key + 6 * of_model,
                        value);
    }
    char *json = json_dumps(file, JSON_COMPACT);
    load_both(i, json, strlen(json));
    free(json);
    json_decref(file);
}

static void load_tokenizers(void)
{
    json_t *kinds;
    for (int i = 0; i < NUM_FILES; i++) {
        char *json;
        size_t len;
        check(file_read(files[i], 1 << 20, &json, &len, NULL) == 0);
        load_both(i, json, len);
        free(json);
    }
    check(json_read_file(STRESS_DIR "kinds.json", 1 << 20, &json_limits_file, &kinds, NULL) == 0);
    check(json_array_size(kinds) == NUM_KINDS);
    for (int i = 0; i < NUM_KINDS; i++)
        load_kind(NUM_FILES + i, json_array_get(kinds, (size_t)i));
    json_decref(kinds);
}

/* The text with '?' for what is not UTF-8. */
static struct strbuf clean(const char *text, size_t len)
{
    struct strbuf out = { 0 };
    strbuf_append(&out, "", 0);
    while (len > 0) {
        const size_t valid = utf8_valid_prefix(text, len);
        strbuf_append(&out, text, valid);
        if (valid == len)
            break;
        strbuf_append_char(&out, '?');
        text += valid + 1;
        len -= valid + 1;
    }
    return out;
}

static int encode(const struct tokenizer *tokenizer, const struct strbuf *text, unsigned flags,
                  struct token_ids *ids)
{
    struct tokenizer_scratch *scratch;
    check(tokenizer_scratch_create(tokenizer, &scratch) == 0);
    const int r =
        tokenizer_encode_marked(tokenizer, scratch, text->data, text->len,
                                (flags & MARKED) != 0 ? "\xEE\x80\x80" : NULL, flags, 0, ids);
    tokenizer_scratch_destroy(scratch);
    return r;
}

static void append_bytes(const struct tokenizer *tokenizer, const struct token_ids *ids,
                         struct strbuf *out)
{
    strbuf_append(out, "", 0);
    for (size_t i = 0; i < ids->num; i++) {
        size_t len;
        const char *bytes = tokenizer_bytes(tokenizer, ids->ids[i], &len);
        check(bytes != NULL && ids->ids[i] < tokenizer_num_ids(tokenizer));
        strbuf_append(out, bytes, len);
    }
}

static void check_round_trip(const struct tokenizer *tokenizer, const struct strbuf *text,
                             const struct token_ids *ids)
{
    struct normalizer_work work[2] = { 0 };
    struct strbuf back = { 0 };
    const char *want, *found;
    size_t want_len, found_len;
    append_bytes(tokenizer, ids, &back);
    check(normalizer_run(&tokenizer->normalizer, &work[0], text->data, text->len, &want,
                         &want_len) == 0);
    check(normalizer_run(&tokenizer->normalizer, &work[1], back.data, back.len, &found,
                         &found_len) == 0);
    check(found_len == want_len && memcmp(found, want, want_len) == 0);
    check(ids->num >= text->len / tokenizer_max_token_bytes(tokenizer));
    normalizer_work_finish(&work[0]);
    normalizer_work_finish(&work[1]);
    strbuf_finish(&back);
}

/* Whatever the ids are, what they decode to is text. */
static void check_decoded(const struct tokenizer *tokenizer, const struct token_ids *ids)
{
    struct strbuf back = { 0 };
    check(tokenizer_decode(tokenizer, ids->ids, ids->num, true, &back) == 0);
    check(back.len == 0 || utf8_valid_prefix(back.data, back.len) == back.len);
    strbuf_finish(&back);
}

static void try_text(int i, unsigned flags, const struct strbuf *text)
{
    struct token_ids by_hand = { 0 }, in_pcre2 = { 0 };
    check(encode(tokenizers[i][BY_HAND], text, flags, &by_hand) == 0);
    check(encode(tokenizers[i][PCRE2], text, flags, &in_pcre2) == 0);
    check(by_hand.num == in_pcre2.num);
    check(by_hand.num == 0 ||
          memcmp(by_hand.ids, in_pcre2.ids, by_hand.num * sizeof(*by_hand.ids)) == 0);
    if (i == RINGLET && (flags & MARKED) == 0)
        check_round_trip(tokenizers[i][BY_HAND], text, &by_hand);
    check_decoded(tokenizers[i][BY_HAND], &by_hand);
    token_ids_finish(&by_hand);
    token_ids_finish(&in_pcre2);
}

static void try_json(const char *data, size_t size)
{
    const char *end = memchr(data, 0xFF, size);
    const size_t len = end != NULL ? (size_t)(end - data) : size;
    struct tokenizer *tokenizer = NULL;
    struct error err = { 0 };
    const int r = tokenizer_from_json(data, len, NULL, 0, &tokenizer, &err);
    check((r == 0) == (tokenizer != NULL) && (r == 0 || (err.code == r && err.message[0] != '\0')));
    if (r == 0) {
        struct strbuf text =
            clean(end != NULL ? end + 1 : data, end != NULL ? size - len - 1 : size);
        struct token_ids ids = { 0 };
        struct strbuf back = { 0 };
        const int got =
            encode(tokenizer, &text, TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL, &ids);
        check(got == 0 || got == -ERANGE);
        append_bytes(tokenizer, &ids, &back);
        check_decoded(tokenizer, &ids);
        strbuf_finish(&back);
        strbuf_finish(&text);
        token_ids_finish(&ids);
    }
    tokenizer_close(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (tokenizers[0][BY_HAND] == NULL)
        load_tokenizers();
    if (size == 0)
        return 0;
    if (data[0] == 'j') {
        try_json((const char *)data + 1, size - 1);
        return 0;
    }
    struct strbuf text = clean((const char *)data + 1, size - 1);
    const unsigned choice = (uint8_t)(data[0] - '0');
    try_text((int)(choice % NUM_TOKENIZERS), choice / NUM_TOKENIZERS % 8, &text);
    strbuf_finish(&text);
    return 0;
}
