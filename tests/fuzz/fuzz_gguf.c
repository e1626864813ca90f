/*
 * fuzz_gguf.c - the input is a GGUF file: header and data
 *
 * What is accepted must keep its promises: values and tensors lie within the file, and what is made
 * of its metadata is JSON.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/gguf_model.h"
#include "formats/gguf_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool held)
{
    if (!held)
        abort();
}

static void walk_value(const struct gguf_value *value, const uint8_t *end)
{
    const unsigned char *at = value->at;
    const char *text;
    size_t len;
    uint64_t num = 0;
    int64_t number;
    double real;
    require(value->end <= end && value->at <= value->end && value->type < GGUF_NUM_TYPES);
    while (gguf_value_next(value, &at, &text, &len)) {
        require((const unsigned char *)text + len <= value->end);
        num++;
    }
    require(value->type != GGUF_STRING || num == value->num);
    gguf_value_int(value, value->num - 1, &number);
    gguf_value_real(value, value->num - 1, &real);
}

static void walk(const struct gguf *gguf, const uint8_t *end, size_t size)
{
    uint64_t at = 0;
    for (int32_t i = 0; i < gguf->num_values; i++) {
        walk_value(&gguf->values[i], end);
        require(gguf_find(gguf, gguf->values[i].key) == &gguf->values[i]);
    }
    require(gguf->data_begin + gguf->data_bytes == size);
    for (int32_t i = 0; i < gguf->num_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        require(tensor->offset >= at && tensor->offset <= gguf->data_bytes &&
                tensor->bytes <= gguf->data_bytes - tensor->offset && tensor->info != NULL);
        at = tensor->offset + tensor->bytes;
    }
}

static void require_json(int r, char **text)
{
    if (r < 0)
        return;
    json_t *value = json_loads(*text, JSON_ALLOW_NUL, NULL);
    require(value != NULL);
    json_decref(value);
    free(*text);
}

static void translate(struct gguf *gguf)
{
    const struct gguf_files files = { .num = 1, .files = gguf };
    struct error err;
    char *text = NULL;
    size_t len;
    json_t *config = NULL, *generation = NULL;
    require_json(gguf_config_json(&files, &text, &len, &err), &text);
    text = NULL;
    require_json(gguf_tokenizer_json(gguf, &text, &len, &err), &text);
    gguf_tokenizer_config(gguf, &config, &err);
    gguf_generation_config(gguf, &generation, &err);
    json_decref(config);
    json_decref(generation);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf gguf = { .fd = -1 };
    struct error err;
    arena_init(&gguf.arena, 0);
    const int r = gguf_parse(data, size, size, &gguf, &err);
    require(r != -EAGAIN); /* all is there: there is no more to ask for */
    if (r == 0) {
        walk(&gguf, data + size, size);
        translate(&gguf);
    }
    arena_finish(&gguf.arena);
    return 0;
}
