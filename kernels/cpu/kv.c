#include "kernels/cpu/kv.h"

#include <errno.h>
#include <stdlib.h>

#include "kernels/cpu/memory.h"

static int check_layout(const struct kv_layout *layout, int32_t num_blocks, struct error *err)
{
    if (layout->num_layers < 1 || layout->num_kv_heads < 1 || layout->block_size < 1 ||
        layout->head_dim < 2 || num_blocks < 1)
        return error_set(err, -EINVAL,
                         "KV pool of %d pages of %d layers x %d heads x %d positions x %d is empty",
                         num_blocks, layout->num_layers, layout->num_kv_heads, layout->block_size,
                         layout->head_dim);
    if (layout->head_dim > KV_MAX_HEAD_DIM)
        return error_set(err, -ENOTSUP, "head_dim %d, at most %d is supported", layout->head_dim,
                         KV_MAX_HEAD_DIM);
    if (layout->latent_dim < 0 || layout->latent_dim > layout->head_dim ||
        (layout->latent_dim > 0 && layout->num_kv_heads != 1))
        return error_set(err, -EINVAL,
                         "KV latents of %d in %d heads of %d, wanted one head that holds them",
                         layout->latent_dim, layout->num_kv_heads, layout->head_dim);
    if (layout->dtype != DTYPE_F16 && layout->dtype != DTYPE_F32)
        return error_set(err, -ENOTSUP, "KV type %s, wanted f16 or f32", dtype_name(layout->dtype));
    return 0;
}

/* Bytes of all pages, or 0 when they exceed what size_t counts. */
static size_t pool_bytes(const struct kv_pool *pool)
{
    const struct kv_layout *layout = &pool->layout;
    const size_t factors[] = { (size_t)layout->num_layers, (size_t)layout->num_kv_heads,
                               layout->latent_dim > 0 ? 1 : 2, pool->plane_bytes,
                               (size_t)pool->num_blocks };
    size_t bytes = 1;
    for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++)
        if (__builtin_mul_overflow(bytes, factors[i], &bytes))
            return 0;
    return bytes;
}

int kv_alloc(struct device *device, const struct kv_layout *layout, int32_t num_blocks,
             struct kv_pool **ret_pool, struct error *err)
{
    (void)device;
    const int r = check_layout(layout, num_blocks, err);
    if (r < 0)
        return r;

    struct kv_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return error_set(err, -ENOMEM, "no memory for a KV pool");
    pool->layout = *layout;
    pool->num_blocks = num_blocks;
    pool->plane_bytes =
        (size_t)layout->block_size * (size_t)layout->head_dim * dtype_bytes(layout->dtype);

    const size_t bytes = pool_bytes(pool);
    pool->block_bytes = bytes / (size_t)num_blocks;
    pool->blocks = bytes ? memory_alloc(bytes) : NULL;
    if (!pool->blocks) {
        kv_free(pool);
        return error_set(err, -ENOMEM, "no memory for %d KV pages (%zu bytes)", num_blocks, bytes);
    }
    *ret_pool = pool;
    return 0;
}

void kv_free(struct kv_pool *pool)
{
    if (!pool)
        return;
    memory_free(pool->blocks);
    free(pool);
}
