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
/* Letters of scripts with capitals, as DeepSeek's first tokenizer lists them. */
#define DEEPSEEK_WORDS                                                                             \
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293"           \
    "\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c"           \
    "\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0"         \
    "-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-"              \
    "\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"          \
    "\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-"         \
    "\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113"          \
    "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"           \
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"           \
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00"         \
    "-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-"               \
    "\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-"         \
    "\U000118df\U0001e900-\U0001e943]+"
#define DEEPSEEK_MARKS "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
#define DEEPSEEK_CJK   "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

static const struct gguf_pre_style
    gpt2 = { { GPT2_WORDS } },
    digits_gpt2 = { { GGUF_PRE_DIGITS, GPT2_WORDS } }, llama3 = { { WORDS "\\p{N}{1,3}" REST } },
    qwen2 = { { WORDS "\\p{N}" REST } },
    deepseek = { { "[\r\n]", DEEPSEEK_WORDS, DEEPSEEK_MARKS, "\\s+$", DEEPSEEK_CJK,
                   GGUF_PRE_DIGITS } },
    deepseek_coder = { { "[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_CJK, GGUF_PRE_DIGITS } },
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
    { "deepseek-llm", &deepseek },
    { "deepseek-coder", &deepseek_coder },
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
