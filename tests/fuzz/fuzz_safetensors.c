/*
 * fuzz_safetensors.c - the input is a file: length, header, data
 *
 * What is accepted must keep its promises: the tensors cover the data in order.
 */
#include <stdint.h>
#include <stdlib.h>

#include "worker/model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct safetensors_tensor *tensors, int32_t num, uint64_t data_bytes)
{
    uint64_t at = 0;
    for (int32_t i = 0; i < num; i++) {
        if (tensors[i].begin != at || tensors[i].end < at || tensors[i].end > data_bytes ||
            tensors[i].rank > SAFETENSORS_MAX_RANK || tensors[i].dtype == NULL)
            abort();
        at = tensors[i].end;
    }
    if (at != data_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned char none[8] = { 0 };
    struct safetensors_tensor *tensors;
    int32_t num;
    uint64_t header_bytes;
    struct error err;
    if (safetensors_header_bytes(size < 8 ? none : data, size, &header_bytes, &err) < 0)
        return 0;
    const uint64_t data_bytes = size - 8 - header_bytes;
    struct arena arena;
    arena_init(&arena, 0);
    if (safetensors_parse((const char *)data + 8, header_bytes, data_bytes, &arena, &tensors, &num,
                          &err) == 0)
        check(tensors, num, data_bytes);
    arena_finish(&arena);
    return 0;
}
