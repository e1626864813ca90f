/*
 * block_pool.h - fixed pool of KV-cache blocks
 *
 * A block holds the keys and values of `block_size` consecutive tokens in the layers of one part
 * (worker/model/kv_groups.h); all have equal bytes, so there is one pool. It hands out block
 * numbers only; the memory behind them belongs to the backend. Sequences that begin with the same
 * tokens share blocks, so every block carries a reference count and goes back on the free list when
 * the count reaches 0. A block that is kept (by the prefix cache) becomes idle instead: free, but
 * not to be handed out before it is forgotten.
 *
 * Threads: engine thread only. Nothing here allocates after init.
 * Source:  PagedAttention, arXiv:2309.06180, section 4.
 */
#ifndef WORKER_BLOCK_POOL_H
#define WORKER_BLOCK_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/reserve.h"

struct block_pool {
    int32_t num_blocks;
    int32_t num_free;    /* without a reference, idle ones included */
    int32_t num_idle;    /* kept, without a reference */
    int32_t *free_ids;   /* [num_blocks], a stack: free_ids[num_free - num_idle - 1] goes next */
    int32_t *ref_counts; /* [num_blocks], 0 while the block is free */
    bool *is_kept;       /* [num_blocks] */
};

/* A sequence's blocks of one KV group: those of pages [first, num). Pages before `first` are behind
 * the group's window. */
struct block_table {
    int32_t *ids; /* [num_parts][max_pages]: of each part, by page */
    int32_t max_pages;
    int32_t first, num;
};

static inline int32_t *block_table_ids(const struct block_table *table, int32_t part)
{
    return table->ids + (size_t)part * (size_t)table->max_pages;
}

/* Start with every block free. Returns 0, or -ENOMEM (`pool` is then untouched). */
int block_pool_init(struct block_pool *pool, int32_t num_blocks, struct reserve *reserve);

/*
 * Take `num` blocks, all or none, each with a reference count of 1.
 *
 * ret_ids : [num], written only on success
 *
 * Returns 0, or -ENOSPC when fewer are free and not idle. That is an ordinary answer: the
 * scheduler evicts or preempts and asks again.
 */
int block_pool_alloc(struct block_pool *pool, int32_t num, int32_t *ret_ids);

/* Add a reference to a block that is in use or idle. */
void block_pool_ref(struct block_pool *pool, int32_t id);

/* Drop a reference; the last one frees the block. Its contents stay as they are until the block
 * is handed out again. */
void block_pool_unref(struct block_pool *pool, int32_t id);

/* The block, which is in use, stays when its last reference goes. */
void block_pool_keep(struct block_pool *pool, int32_t id);

/* An idle block goes on the free list. */
void block_pool_forget(struct block_pool *pool, int32_t id);

#endif
