/*
 * fuzz_tokenizer.c - tokenizer.json of any kind, and any text through good ones
 *
 * The first byte chooses: 'j' is followed by a tokenizer.json, a byte FF and a text; a digit
 * by a text for one of the recorded tokenizers. There, splitting by hand must give what PCRE2
 * gives, and of Ringlet's ids the bytes must be the text in NFC.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
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
enum { NUM_FILES = 4, RINGLET = 0, BY_HAND = 0, PCRE2 = 1 };

static struct tokenizer *tokenizers[NUM_FILES][2];

static void check(bool good)
{
    if (!good)
        abort();
}

static void load_tokenizers(void)
{
    for (int i = 0; i < NUM_FILES; i++) {
        char *json;
        size_t len;
        check(file_read(files[i], 1 << 20, &json, &len, NULL) == 0);
        for (int how = BY_HAND; how <= PCRE2; how++)
            check(tokenizer_parts_from_json(json, len, NULL, 0, how == BY_HAND, &tokenizers[i][how],
                                            NULL) == 0);
        free(json);
    }
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
    const int r = tokenizer_encode(tokenizer, scratch, text->data, text->len, flags, 0, ids);
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

static void try_text(int i, unsigned flags, const struct strbuf *text)
{
    struct token_ids by_hand = { 0 }, in_pcre2 = { 0 };
    check(encode(tokenizers[i][BY_HAND], text, flags, &by_hand) == 0);
    check(encode(tokenizers[i][PCRE2], text, flags, &in_pcre2) == 0);
    check(by_hand.num == in_pcre2.num);
    check(by_hand.num == 0 ||
          memcmp(by_hand.ids, in_pcre2.ids, by_hand.num * sizeof(*by_hand.ids)) == 0);
    if (i == RINGLET)
        check_round_trip(tokenizers[i][BY_HAND], text, &by_hand);
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
    try_text(data[0] % NUM_FILES, data[0] / NUM_FILES % 4, &text);
    strbuf_finish(&text);
    return 0;
}
