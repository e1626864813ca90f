/*
 * kv_layout.h - what a page of the KV cache holds, and how many bytes it is
 *
 * Any thread.
 */
#ifndef KERNELS_KV_LAYOUT_H
#define KERNELS_KV_LAYOUT_H

#include "kernels/dtype.h"

/*
 * A pool of KV pages. A page holds K and V of `block_size` positions of all its layers, a part of
 * the model's, and heads: kv_block_bytes(), in an order of the backend's own. Multiples of 16 are
 * the fast block sizes. Values are rounded to the nearest of the type when they are written and
 * read as that: F8_E4M3 ends at +-448; Q8_0 has for each 32 values of a head (the last ones may be
 * fewer) a scale in f16, the largest / 127. What is not finite stays so, or becomes NaN.
 */
struct kv_layout {
    int32_t num_layers, num_kv_heads, head_dim, block_size;
    enum dtype dtype; /* F32, F16, BF16, F8_E4M3 or Q8_0 */
    /* > 0: V is the first latent_dim values of K and not stored again (one KV head): a latent
     * that all heads share. 0: V is as wide as K. */
    int32_t latent_dim;
};

enum { KV_QUANT = 32 }; /* values that share a scale, of Q8_0 */

/* Scales of one position of a head. */
static inline int32_t kv_num_scales(const struct kv_layout *layout)
{
    return layout->dtype == DTYPE_Q8_0 ? (layout->head_dim + KV_QUANT - 1) / KV_QUANT : 0;
}

/* Bytes of one head's K in a page, and of its V: scales and values. Even. */
static inline size_t kv_plane_bytes(const struct kv_layout *layout)
{
    const size_t size = layout->dtype == DTYPE_Q8_0 ? 1 : dtype_bytes(layout->dtype);
    const size_t values = (size_t)layout->block_size * (size_t)layout->head_dim * size;
    const size_t scales = (size_t)layout->block_size * (size_t)kv_num_scales(layout) * 2;
    return scales + (values + 1) / 2 * 2;
}

/* Bytes of one page. The sizes are checked: no product of them overflows. */
static inline size_t kv_block_bytes(const struct kv_layout *layout)
{
    const size_t planes = (size_t)layout->num_layers * (size_t)layout->num_kv_heads *
                          (layout->latent_dim > 0 ? 1 : 2);
    return planes * kv_plane_bytes(layout);
}

#endif
