/*
 * gguf_vocab.h - tokenizer and chat template into the metadata of a GGUF file
 *
 * The inverse of gguf_tokenizer_json() and its neighbours: a byte-level BPE becomes the model
 * "gpt2", whose cutting must have a name (gguf_pre.h); a BPE with byte fallback becomes "llama",
 * scores being the order of merges. Ids up to the size of the vocabulary that no token has are
 * filled with unused ones.
 */
#ifndef FORMATS_GGUF_VOCAB_H
#define FORMATS_GGUF_VOCAB_H

#include <jansson.h>

#include "formats/gguf_write.h"

/* What a model's directory holds; NULL where a file is absent. */
struct gguf_vocab {
    const json_t *tokenizer;  /* tokenizer.json */
    const json_t *settings;   /* tokenizer_config.json */
    const json_t *generation; /* generation_config.json */
    const json_t *config;     /* config.json */
    const char *template;     /* chat_template.jinja, which comes before the settings' */
    size_t template_len;
    int32_t vocab_size; /* rows of the embedding */
};

/* Returns 0; -EINVAL for what is no tokenizer.json, -ENOTSUP for one that GGUF has no words for,
 * -ENOMEM. */
int gguf_vocab_put(struct gguf_writer *writer, const struct gguf_vocab *vocab, struct error *err);

#endif
