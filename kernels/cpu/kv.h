/*
 * kv.h - the pages of keys and values, and where things lie in them
 *
 *     page = [num_layers][num_kv_heads] { K [head_dim][block_size], V [block_size][head_dim] }
 *
 * K lies transposed: the scores of consecutive positions are then a small matrix product whose
 * lanes are positions, with no sum across a vector. Writing it costs scattered stores, once per
 * token. A pool of latents has no V: it is part of K (latent_dim). In Q8_0 each of K and V is
 * headed by its scales, f16, in the same order: K [scales of a position][block_size], V
 * [block_size][scales of a position].
 *
 * Behind the last page lie KV_SLACK bytes that may be read, so that a vector may begin anywhere.
 */
#ifndef KERNELS_CPU_KV_H
#define KERNELS_CPU_KV_H

#include "kernels/backend.h"

enum {
    KV_MAX_HEAD_DIM = 576, /* a latent of 512 and 64 that are rotated */
    KV_MAX_SCALES = KV_MAX_HEAD_DIM / KV_QUANT,
    KV_SLACK = 64
};

struct kv_pool {
    struct kv_layout layout;
    int32_t num_blocks;
    size_t block_bytes; /* of a page */
    size_t plane_bytes; /* of one head's K, and of its V */
    size_t scale_bytes; /* of these, what lies before the values */
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

/* One position's K or V: value i is element i * step of values, scale j element j * scale_step. */
struct kv_line {
    enum dtype dtype;
    int32_t num;
    int64_t step, scale_step; /* in elements */
    unsigned char *values, *scales;
};

struct kv_line kv_key_line(const struct kv_pool *pool, int64_t slot, int32_t layer,
                           int32_t kv_head);
struct kv_line kv_value_line(const struct kv_pool *pool, int64_t slot, int32_t layer,
                             int32_t kv_head);

/* Scale of a Q8_0 block whose largest magnitude is `max` (NaN where one is not finite): at most
 * the largest f16. Its values are x / scale, to the nearest, at most 127; 0 where the scale is. */
uint16_t kv_quant_scale(float max);

/* In plain C: round, and read again. */
void kv_line_write(const struct kv_line *line, const float *from);
void kv_line_read(const struct kv_line *line, float *to);

#endif
