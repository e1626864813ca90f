/*
 * kv.h - the pages of keys and values, and where things lie in them
 *
 *     page = [num_layers][num_kv_heads] { K [head_dim][block_size], V [block_size][head_dim] }
 *
 * K lies transposed: the scores of consecutive positions are then a small matrix product whose
 * lanes are positions, with no sum across a vector. Writing it costs scattered 2-byte stores,
 * once per token. A pool of latents has no V: it is part of K (latent_dim).
 */
#ifndef KERNELS_CPU_KV_H
#define KERNELS_CPU_KV_H

#include "kernels/backend.h"

enum { KV_MAX_HEAD_DIM = 576 }; /* a latent of 512 and 64 that are rotated */

struct kv_pool {
    struct kv_layout layout;
    int32_t num_blocks;
    size_t block_bytes; /* of a page */
    size_t plane_bytes; /* of one head's K, and of its V */
    unsigned char *blocks;
};

int kv_alloc(struct device *device, const struct kv_layout *layout, int32_t num_blocks,
             struct kv_pool **ret_pool, struct error *err);
void kv_free(struct kv_pool *pool);

/* One head's K in a page; its V lies plane_bytes behind. */
static inline unsigned char *kv_keys(const struct kv_pool *pool, int64_t block, int32_t layer,
                                     int32_t kv_head)
{
    const size_t planes = pool->layout.latent_dim > 0 ? 1 : 2;
    const size_t plane =
        ((size_t)layer * (size_t)pool->layout.num_kv_heads + (size_t)kv_head) * planes;
    return pool->blocks + (size_t)block * pool->block_bytes + plane * pool->plane_bytes;
}

#endif
