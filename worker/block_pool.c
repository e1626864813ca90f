#include "worker/block_pool.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

int block_pool_init(struct block_pool *pool, int32_t num_blocks, struct reserve *reserve)
{
    const size_t num = (size_t)num_blocks;
    int32_t *free_ids = reserve_array(reserve, num, sizeof(*free_ids));
    int32_t *ref_counts = reserve_array(reserve, num, sizeof(*ref_counts));
    bool *is_kept = reserve_array(reserve, num, sizeof(*is_kept));
    if (free_ids == NULL || ref_counts == NULL || is_kept == NULL)
        return -ENOMEM;

    for (int32_t i = 0; i < num_blocks; i++) /* block 0 goes first */
        free_ids[i] = num_blocks - 1 - i;
    *pool = (struct block_pool){ .num_blocks = num_blocks,
                                 .num_free = num_blocks,
                                 .free_ids = free_ids,
                                 .ref_counts = ref_counts,
                                 .is_kept = is_kept };
    return 0;
}

static void push(struct block_pool *pool, int32_t id)
{
    pool->free_ids[pool->num_free++ - pool->num_idle] = id;
}

int block_pool_alloc(struct block_pool *pool, int32_t num, int32_t *ret_ids)
{
    if (num > pool->num_free - pool->num_idle)
        return -ENOSPC;
    for (int32_t i = 0; i < num; i++) {
        const int32_t id = pool->free_ids[--pool->num_free - pool->num_idle];
        pool->ref_counts[id] = 1;
        ret_ids[i] = id;
    }
    return 0;
}

void block_pool_ref(struct block_pool *pool, int32_t id)
{
    assert(id >= 0 && id < pool->num_blocks && (pool->ref_counts[id] > 0 || pool->is_kept[id]));
    if (pool->ref_counts[id]++ == 0) {
        pool->num_free--;
        pool->num_idle--;
    }
}

void block_pool_unref(struct block_pool *pool, int32_t id)
{
    assert(id >= 0 && id < pool->num_blocks && pool->ref_counts[id] > 0);
    if (--pool->ref_counts[id] > 0)
        return;
    if (pool->is_kept[id]) {
        pool->num_free++;
        pool->num_idle++;
    } else {
        push(pool, id);
    }
}

void block_pool_keep(struct block_pool *pool, int32_t id)
{
    assert(id >= 0 && id < pool->num_blocks && pool->ref_counts[id] > 0);
    pool->is_kept[id] = true;
}

void block_pool_forget(struct block_pool *pool, int32_t id)
{
    assert(pool->is_kept[id] && pool->ref_counts[id] == 0);
    pool->is_kept[id] = false;
    pool->num_free--;
    pool->num_idle--;
    push(pool, id);
}
