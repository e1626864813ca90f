/*
 * arena.h - bump allocation: many small objects, one lifetime
 *
 * Memory comes in chunks from malloc and goes back all at once. Addresses stay valid until
 * arena_reset() or arena_finish(). One thread at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes;          /* handed out since init or reset */
    size_t limit_bytes;         /* 0: none */
};

/* An empty arena that refuses to hand out more than `limit_bytes` in all (0: no limit). */
void arena_init(struct arena *arena, size_t limit_bytes);

/* Zeroed memory aligned for any type, or NULL: out of memory, or the limit is reached. */
void *arena_alloc(struct arena *arena, size_t size);

/* Zeroed array; NULL also when num * size overflows. */
void *arena_alloc_array(struct arena *arena, size_t num, size_t size);

/* A copy of `len` bytes with a NUL behind it, or NULL. */
char *arena_strndup(struct arena *arena, const char *text, size_t len);

/* Forget everything handed out; keeps one chunk for reuse. */
void arena_reset(struct arena *arena);

/* Give all memory back. Accepts an arena that is zeroed or finished already. */
void arena_finish(struct arena *arena);

#endif
