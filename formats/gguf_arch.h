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
};

struct gguf_arch {
    unsigned id;              /* one of gguf_arch_id */
    const char *name;         /* general.architecture, and before its keys */
    const char *model_type;   /* of config.json */
    const char *architecture; /* the first of config.json's */
};

#endif
