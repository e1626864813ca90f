/*
 * gguf_arch.h - the architectures of GGUF: a row each; for gguf_*.c and who writes such files
 */
#ifndef FORMATS_GGUF_ARCH_H
#define FORMATS_GGUF_ARCH_H

#include "formats/gguf_model.h"

enum gguf_arch_id {
    GGUF_LLAMA = 1 << 0,
    GGUF_MIXTRAL = 1 << 1, /* "llama" with experts */
    GGUF_QWEN2 = 1 << 2,
    GGUF_QWEN3 = 1 << 3,
    GGUF_QWEN3MOE = 1 << 4,
    GGUF_PHI2 = 1 << 5,
    GGUF_PHI3 = 1 << 6,
    GGUF_GEMMA = 1 << 7,
    GGUF_GEMMA2 = 1 << 8,
    GGUF_GEMMA3 = 1 << 9,
    GGUF_QWEN2MOE = 1 << 10,
    GGUF_DEEPSEEK_V2 = 1 << 11,
    GGUF_DEEPSEEK_V3 = 1 << 12, /* "deepseek2" whose experts are chosen by sigmoids */
    GGUF_OLMO2 = 1 << 13,
};

#define GGUF_GEMMAS    (GGUF_GEMMA | GGUF_GEMMA2 | GGUF_GEMMA3)
#define GGUF_DEEPSEEKS (GGUF_DEEPSEEK_V2 | GGUF_DEEPSEEK_V3)
#define GGUF_ALL       0xffffu

struct gguf_arch {
    unsigned id;              /* one of gguf_arch_id */
    const char *name;         /* general.architecture, and before its keys */
    const char *model_type;   /* of config.json */
    const char *architecture; /* the first of config.json's */
};

#endif
