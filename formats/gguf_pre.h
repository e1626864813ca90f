/*
 * gguf_pre.h - how text is cut before merging: names in GGUF, patterns in tokenizer.json
 *
 * Source: llama.cpp's table of pre-tokenizers and the tokenizer.json files that its converter knows
 * them by, as data. Any thread.
 */
#ifndef FORMATS_GGUF_PRE_H
#define FORMATS_GGUF_PRE_H

#include <stdbool.h>
#include <stddef.h>

enum { GGUF_PRE_PATTERNS = 6 };

/* Each digit by itself: what tokenizer.json also calls Digits. */
#define GGUF_PRE_DIGITS "\\p{N}"

/* Values of tokenizer.ggml.token_type. */
enum gguf_token_type {
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN = 2,
    GGUF_TOKEN_CONTROL = 3,
    GGUF_TOKEN_USER_DEFINED = 4,
    GGUF_TOKEN_UNUSED = 5,
    GGUF_TOKEN_BYTE = 6,
};

/* Pieces are cut by each pattern in turn. */
struct gguf_pre_style {
    const char *patterns[GGUF_PRE_PATTERNS];
};

struct gguf_pre {
    const char *name; /* tokenizer.ggml.pre */
    const struct gguf_pre_style *style;
    bool ignore_merges, add_bos, nfc;
};

/* NULL for a name without a row. */
const struct gguf_pre *gguf_pre_find(const char *name, size_t len);

/* The first row that cuts so, NULL when there is none. */
const struct gguf_pre *gguf_pre_match(const struct gguf_pre_style *style, bool ignore_merges,
                                      bool nfc);

/* The pattern that ByteLevel has of its own. */
const char *gguf_pre_gpt2(void);

#endif
