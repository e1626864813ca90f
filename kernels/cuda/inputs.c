#include "kernels/cuda/inputs.h"

#include <errno.h>
#include <string.h>

enum { ALIGN = 64 };

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

int inputs_init(struct inputs *inputs, struct memory *memory, size_t fixed_size, size_t tables_size)
{
    *inputs = (struct inputs){ .runtime = memory->runtime,
                               .fixed_size = round_up(fixed_size),
                               .tables_size = round_up(tables_size) };
    const size_t bytes = inputs->fixed_size + inputs->tables_size;
    inputs->device = memory_take(memory, MEMORY_INPUTS, bytes);
    for (int i = 0; i < 2; i++)
        inputs->pinned[i] = runtime_pinned_alloc(memory->runtime, bytes);
    return inputs->device != NULL && inputs->pinned[0] != NULL && inputs->pinned[1] != NULL
               ? 0
               : -ENOMEM;
}

void inputs_finish(struct inputs *inputs, struct memory *memory)
{
    for (int i = 0; i < 2; i++)
        if (inputs->pinned[i] != NULL)
            runtime_pinned_free(inputs->runtime, inputs->pinned[i]);
    memory_give(memory, inputs->device);
}

void inputs_begin(struct inputs *inputs)
{
    inputs->turn = !inputs->turn;
    inputs->num_arrays = 0;
    inputs->fixed_used = inputs->tables_used = 0;
    inputs->is_full = false;
}

void *inputs_fixed(struct inputs *inputs, size_t bytes, void **ret_device)
{
    const size_t at = inputs->fixed_used;
    *ret_device = inputs->device + at;
    if (bytes > inputs->fixed_size - at) {
        inputs->is_full = true;
        return NULL;
    }
    inputs->fixed_used = at + round_up(bytes);
    if (inputs->fixed_used > inputs->fixed_size)
        inputs->fixed_used = inputs->fixed_size;
    return inputs->pinned[inputs->turn] + at;
}

void *inputs_table(struct inputs *inputs, size_t bytes, int64_t *ret_offset)
{
    const size_t at = inputs->tables_used;
    *ret_offset = (int64_t)at;
    if (bytes > inputs->tables_size - at) {
        inputs->is_full = true;
        return NULL;
    }
    inputs->tables_used = at + round_up(bytes);
    if (inputs->tables_used > inputs->tables_size)
        inputs->tables_used = inputs->tables_size;
    return inputs->pinned[inputs->turn] + inputs->fixed_size + at;
}

unsigned char *inputs_tables(const struct inputs *inputs)
{
    return inputs->device + inputs->fixed_size;
}

const void *inputs_array(struct inputs *inputs, const void *host, size_t bytes, size_t padded_bytes,
                         int fill)
{
    void *device;
    for (int32_t i = 0; i < inputs->num_arrays; i++)
        if (inputs->arrays[i].host == host && inputs->arrays[i].bytes == bytes)
            return inputs->arrays[i].device;
    unsigned char *to = inputs_fixed(inputs, padded_bytes, &device);
    if (to == NULL || inputs->num_arrays == INPUTS_MAX_ARRAYS) {
        inputs->is_full = true;
        return inputs->device;
    }
    memcpy(to, host, bytes);
    memset(to + bytes, fill, padded_bytes - bytes);
    inputs->arrays[inputs->num_arrays++] = (struct inputs_array){ host, bytes, device };
    return device;
}

int inputs_send(struct inputs *inputs)
{
    const unsigned char *from = inputs->pinned[inputs->turn];
    int r = 0;
    if (inputs->fixed_used > 0)
        r = runtime_copy(inputs->runtime, RUNTIME_COMPUTE, inputs->device, from,
                         inputs->fixed_used);
    if (r == 0 && inputs->tables_used > 0)
        r = runtime_copy(inputs->runtime, RUNTIME_COMPUTE, inputs_tables(inputs),
                         from + inputs->fixed_size, inputs->tables_used);
    return r;
}
