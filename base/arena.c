#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used;
    alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *arena, size_t limit_bytes)
{
    *arena = (struct arena){ .limit_bytes = limit_bytes };
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t size)
{
    const size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + room);
    if (chunk == NULL)
        return NULL;
    chunk->next = arena->chunks;
    chunk->size = room;
    chunk->used = 0;
    arena->chunks = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    if (size > (size_t)-1 / 2)
        return NULL;
    size = (size + align - 1) & ~(align - 1);
    if (arena->limit_bytes != 0 && size > arena->limit_bytes - arena->used_bytes)
        return NULL;

    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < size)
        chunk = add_chunk(arena, size);
    if (chunk == NULL)
        return NULL;
    void *memory = chunk->data + chunk->used;
    chunk->used += size;
    arena->used_bytes += size;
    return memset(memory, 0, size);
}

void *arena_alloc_array(struct arena *arena, size_t num, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(num, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    if (len == (size_t)-1)
        return NULL;
    char *copy = arena_alloc(arena, len + 1);
    if (copy != NULL && len > 0)
        memcpy(copy, text, len);
    return copy;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *kept = arena->chunks;
    if (kept == NULL)
        return;
    for (struct arena_chunk *chunk = kept->next; chunk != NULL;) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    kept->next = NULL;
    kept->used = 0;
    arena->used_bytes = 0;
}

void arena_finish(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->chunks; chunk != NULL;) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *arena = (struct arena){ .limit_bytes = arena->limit_bytes };
}
