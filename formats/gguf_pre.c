/* The pre-tokenizers that have a name in GGUF. */
#include "formats/gguf_pre.h"

#include <string.h>

#define GPT2_WORDS                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CAMEL_1                                                                                    \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define CAMEL_2                                                                                    \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
#define FOLDED     "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define CAMEL_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct gguf_pre_style
    gpt2 = { { GPT2_WORDS } },
    digits_gpt2 = { { GPT2_WORDS }, true }, llama3 = { { WORDS "\\p{N}{1,3}" REST } },
    qwen2 = { { WORDS "\\p{N}" REST } },
    deepseek3 = { { "\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    "[!\"#$%&'()*+,\\-./"
                    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]"
                    "?[\\p{L}\\p{M}]+| "
                    "?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" } },
    tekken = { { CAMEL_1 "|" CAMEL_2 "|\\p{N}" CAMEL_REST } },
    o200k = { { CAMEL_1 FOLDED "|" CAMEL_2 FOLDED "|\\p{N}{1,3}" CAMEL_REST } };

static const struct gguf_pre rows[] = {
    { "gpt-2", &gpt2 },
    { "phi-2", &gpt2 },
    { "gpt2", &gpt2 },
    { "olmo", &gpt2 },
    { "jais", &gpt2 },
    { "llama-bpe", &llama3, true, true },
    { "llama3", &llama3, true, true },
    { "llama-v3", &llama3, true, true },
    { "falcon3", &llama3, true, true },
    { "pixtral", &llama3, true, true },
    { "dbrx", &llama3 },
    { "smaug-bpe", &llama3 },
    { "glm4", &llama3 },
    { "chatglm-bpe", &llama3 },
    { "qwen2", &qwen2, false, false, true },
    { "deepseek-r1-qwen", &qwen2, false, false, true },
    { "stablelm2", &qwen2 },
    { "megrez", &qwen2 },
    { "deepseek-v3", &deepseek3 },
    { "smollm", &digits_gpt2 },
    { "starcoder", &digits_gpt2 },
    { "refact", &digits_gpt2 },
    { "command-r", &digits_gpt2 },
    { "codeshell", &digits_gpt2 },
    { "tekken", &tekken, true, true },
    { "gpt-4o", &o200k },
    { "llama4", &o200k },
};

enum { NUM_ROWS = sizeof(rows) / sizeof(rows[0]) };

const struct gguf_pre *gguf_pre_find(const char *name, size_t len)
{
    for (int i = 0; i < NUM_ROWS; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

static bool has_patterns(const struct gguf_pre_style *style, const struct gguf_pre_style *wanted)
{
    if (style->digits != wanted->digits)
        return false;
    for (int i = 0; i < GGUF_PRE_PATTERNS; i++) {
        const char *a = style->patterns[i], *b = wanted->patterns[i];
        if ((a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0))
            return false;
    }
    return true;
}

const struct gguf_pre *gguf_pre_match(const struct gguf_pre_style *style, bool ignore_merges,
                                      bool nfc)
{
    for (int i = 0; i < NUM_ROWS; i++)
        if (rows[i].ignore_merges == ignore_merges && rows[i].nfc == nfc &&
            has_patterns(rows[i].style, style))
            return &rows[i];
    return NULL;
}

const char *gguf_pre_gpt2(void)
{
    return GPT2_WORDS;
}
