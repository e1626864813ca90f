#include "kernels/cuda/memory.h"

#include <string.h>

enum { ALIGN = 256 };

void memory_init(struct memory *memory, struct runtime *runtime)
{
    *memory = (struct memory){ .runtime = runtime };
    pthread_mutex_init(&memory->lock, NULL);
}

void memory_finish(struct memory *memory)
{
    for (int32_t i = 0; i < memory->num_pieces; i++)
        if (memory->pieces[i].base != NULL)
            runtime_unmap(memory->runtime, memory->pieces[i].base, memory->pieces[i].bytes);
    pthread_mutex_destroy(&memory->lock);
}

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static struct memory_piece *free_place(struct memory *memory)
{
    for (int32_t i = 0; i < memory->num_pieces; i++)
        if (memory->pieces[i].base == NULL)
            return &memory->pieces[i];
    return memory->num_pieces < MEMORY_MAX_PIECES ? &memory->pieces[memory->num_pieces++] : NULL;
}

static struct memory_piece *map_piece(struct memory *memory, enum memory_kind kind, size_t bytes,
                                      bool is_shared)
{
    struct memory_piece *piece = free_place(memory);
    void *base;
    if (piece == NULL || runtime_map(memory->runtime, bytes, &base) < 0)
        return NULL;
    *piece =
        (struct memory_piece){ .base = base, .bytes = bytes, .kind = kind, .is_shared = is_shared };
    memory->bytes[kind] += bytes;
    return piece;
}

static struct memory_piece *find_shared(struct memory *memory, enum memory_kind kind, size_t bytes)
{
    for (int32_t i = 0; i < memory->num_pieces; i++) {
        struct memory_piece *piece = &memory->pieces[i];
        if (piece->base != NULL && piece->is_shared && piece->kind == kind &&
            piece->bytes - piece->used >= bytes)
            return piece;
    }
    return map_piece(memory, kind, runtime_granularity(memory->runtime), true);
}

static void *take(struct memory *memory, enum memory_kind kind, size_t bytes)
{
    const size_t page = runtime_granularity(memory->runtime);
    const bool is_small = bytes <= page / 2;
    struct memory_piece *piece = is_small ? find_shared(memory, kind, bytes)
                                          : map_piece(memory, kind, round_up(bytes, page), false);
    if (piece == NULL)
        return NULL;
    unsigned char *at = piece->base + piece->used;
    piece->used += bytes;
    piece->num_users++;
    return at;
}

void *memory_take(struct memory *memory, enum memory_kind kind, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    pthread_mutex_lock(&memory->lock);
    void *at = take(memory, kind, round_up(bytes > 0 ? bytes : 1, ALIGN));
    pthread_mutex_unlock(&memory->lock);
    return at;
}

static struct memory_piece *piece_of(struct memory *memory, const unsigned char *at)
{
    for (int32_t i = 0; i < memory->num_pieces; i++) {
        struct memory_piece *piece = &memory->pieces[i];
        if (piece->base != NULL && at >= piece->base && at < piece->base + piece->bytes)
            return piece;
    }
    return NULL;
}

void memory_give(struct memory *memory, void *at)
{
    pthread_mutex_lock(&memory->lock);
    struct memory_piece *piece = at != NULL ? piece_of(memory, at) : NULL;
    if (piece != NULL && --piece->num_users == 0) {
        runtime_unmap(memory->runtime, piece->base, piece->bytes);
        memory->bytes[piece->kind] -= piece->bytes;
        *piece = (struct memory_piece){ 0 };
    }
    pthread_mutex_unlock(&memory->lock);
}

size_t memory_behind(struct memory *memory, const void *at)
{
    pthread_mutex_lock(&memory->lock);
    const struct memory_piece *piece = piece_of(memory, at);
    const size_t bytes = piece != NULL && !piece->is_shared
                             ? (size_t)(piece->base + piece->bytes - (const unsigned char *)at)
                             : 0;
    pthread_mutex_unlock(&memory->lock);
    return bytes;
}

const char *memory_kind_name(enum memory_kind kind)
{
    static const char *const names[] = { "weights", "KV cache", "activations", "inputs",
                                         "workspace" };
    return names[kind];
}

size_t memory_total(const struct memory *memory)
{
    size_t bytes = 0;
    for (int i = 0; i < MEMORY_NUM_KINDS; i++)
        bytes += memory->bytes[i];
    return bytes;
}
