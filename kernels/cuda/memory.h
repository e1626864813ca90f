/*
 * memory.h - the device's memory, and where every byte of it goes
 *
 * Whole pages come from runtime_map(); what is smaller than a page shares one with others of the
 * same use. Nothing here is called while a step runs.
 */
#ifndef KERNELS_CUDA_MEMORY_H
#define KERNELS_CUDA_MEMORY_H

#include <pthread.h>

#include "kernels/cuda/runtime.h"

enum memory_kind {
    MEMORY_WEIGHTS,
    MEMORY_KV,
    MEMORY_ACTIVATIONS,
    MEMORY_INPUTS,
    MEMORY_WORKSPACE,
    MEMORY_NUM_KINDS
};

enum { MEMORY_MAX_PIECES = 4096 };

struct memory_piece {
    unsigned char *base;
    size_t bytes, used; /* used: handed out from the front, of a shared one */
    int32_t num_users;
    enum memory_kind kind;
    bool is_shared;
};

struct memory {
    struct runtime *runtime;
    pthread_mutex_t lock;
    struct memory_piece pieces[MEMORY_MAX_PIECES];
    int32_t num_pieces;
    size_t bytes[MEMORY_NUM_KINDS];
};

void memory_init(struct memory *memory, struct runtime *runtime);
void memory_finish(struct memory *memory);

/* Zeroed, 256-byte aligned; NULL when there is none. */
void *memory_take(struct memory *memory, enum memory_kind kind, size_t bytes);
void memory_give(struct memory *memory, void *at); /* accepts NULL */

/* Bytes from `at` on that are of the same piece; 0 where it shares a page with others. */
size_t memory_behind(struct memory *memory, const void *at);

const char *memory_kind_name(enum memory_kind kind);
size_t memory_total(const struct memory *memory);

#endif
