/*
 * fuzz_vocab.c - the input is a tokenizer.json that becomes metadata of a GGUF file
 *
 * What is accepted must be read again: the file has the keys that were written.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "formats/gguf_value.h"
#include "formats/gguf_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOCAB = 1200 };

/* The keys as a file of no tensors. */
static void read_back(const struct gguf_writer *writer)
{
    struct strbuf file = { 0 };
    struct gguf gguf = { .fd = -1 };
    struct error err;
    const uint32_t version = 3;
    const uint64_t tensors = 0;
    strbuf_append(&file, "GGUF", 4);
    strbuf_append(&file, &version, sizeof(version));
    strbuf_append(&file, &tensors, sizeof(tensors));
    strbuf_append(&file, &writer->num_keys, sizeof(writer->num_keys));
    strbuf_append(&file, writer->keys.data, writer->keys.len);
    while (file.len % 32 != 0)
        strbuf_append_char(&file, '\0');
    arena_init(&gguf.arena, 0);
    if (gguf_parse((const unsigned char *)file.data, file.len, file.len, &gguf, &err) < 0 ||
        gguf_find(&gguf, "tokenizer.ggml.tokens") == NULL)
        abort();
    arena_finish(&gguf.arena);
    strbuf_finish(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf_writer writer = { 0 };
    struct error err;
    json_t *tokenizer;
    if (json_read((const char *)data, size, &json_limits_file, &tokenizer, &err) < 0)
        return 0;
    const struct gguf_vocab vocab = { .tokenizer = tokenizer,
                                      .settings = tokenizer,
                                      .generation = tokenizer,
                                      .config = tokenizer,
                                      .vocab_size = VOCAB };
    if (gguf_vocab_put(&writer, &vocab, &err) == 0)
        read_back(&writer);
    gguf_writer_finish(&writer);
    json_decref(tokenizer);
    return 0;
}
