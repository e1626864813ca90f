#include "kernels/cuda/kv.h"

#include <errno.h>
#include <stdlib.h>

#include "kernels/cuda/device.h"

enum { MAX_HEAD = 256, NARROW_HEAD = 128, MAX_KEY = 576, MAX_LATENT = 512, COPY_BYTES = 16 };

/* What a type is in pages, or -1. */
static int kv_number_of(enum dtype dtype)
{
    static const struct {
        enum dtype dtype;
        enum kv_number number;
    } rows[] = { { DTYPE_F16, KV_F16 },
                 { DTYPE_BF16, KV_BF16 },
                 { DTYPE_F8_E4M3, KV_E4M3 },
                 { DTYPE_F32, KV_F32 },
                 { DTYPE_Q8_0, KV_Q8_0 } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].dtype == dtype)
            return (int)rows[i].number;
    return -1;
}

/* Attention over wider heads takes more shared memory than each GPU has. */
static int check_width(const struct device *d, const struct kv_layout *l, struct error *err)
{
    const int32_t bytes = d->launch.max_shared_bytes;
    if (l->latent_dim > 0 || l->head_dim <= NARROW_HEAD || bytes >= WIDE_SHARED_BYTES)
        return 0;
    return error_set(err, -ENOTSUP,
                     "head_dim %d, wanted at most %d on a GPU with %d KiB of shared memory for a "
                     "block; wider heads take %d KiB",
                     l->head_dim, NARROW_HEAD, bytes >> 10, WIDE_SHARED_BYTES >> 10);
}

static int check(const struct kv_layout *l, int32_t num_blocks, struct error *err)
{
    const int32_t most = l->latent_dim > 0 ? MAX_KEY : MAX_HEAD;
    if (l->num_layers < 1 || l->num_kv_heads < 1 || l->block_size < 1 || l->head_dim < 8 ||
        num_blocks < 1)
        return error_set(err, -EINVAL,
                         "KV pool of %d pages of %d layers x %d heads x %d positions x %d is empty",
                         num_blocks, l->num_layers, l->num_kv_heads, l->block_size, l->head_dim);
    if (kv_number_of(l->dtype) < 0)
        return error_set(err, -ENOTSUP, "KV type %s, on a GPU wanted f32, f16, bf16, fp8 or q8_0",
                         dtype_name(l->dtype));
    if (l->head_dim % 8 != 0 || l->head_dim > most || l->latent_dim > MAX_LATENT)
        return error_set(err, -ENOTSUP, "head_dim %d, on a GPU wanted a multiple of 8 up to %d",
                         l->head_dim, most);
    if (l->latent_dim < 0 || l->latent_dim > l->head_dim ||
        (l->latent_dim > 0 && l->num_kv_heads != 1))
        return error_set(err, -EINVAL,
                         "KV latents of %d in %d heads of %d, wanted one head that holds them",
                         l->latent_dim, l->num_kv_heads, l->head_dim);
    if (kv_plane_bytes(l) % COPY_BYTES != 0)
        return error_set(err, -ENOTSUP,
                         "KV pages of %d positions x %d %s, on a GPU wanted a multiple of %d bytes",
                         l->block_size, l->head_dim, dtype_name(l->dtype), COPY_BYTES);
    return 0;
}

int kv_alloc(struct device *device, const struct kv_layout *l, int32_t num_blocks,
             struct kv_pool **ret_pool, struct error *err)
{
    int r = check(l, num_blocks, err);
    if (r == 0)
        r = check_width(device, l, err);
    if (r < 0)
        return r;
    struct kv_pool *pool = malloc(sizeof(*pool));
    const size_t block_bytes = kv_block_bytes(l);
    size_t bytes;
    if (pool == NULL)
        return error_set(err, -ENOMEM, "no memory for a KV pool");
    if (__builtin_mul_overflow(block_bytes, (size_t)num_blocks, &bytes))
        bytes = SIZE_MAX;
    *pool = (struct kv_pool){
        .device = device,
        .block_bytes = block_bytes,
        .pages = { .blocks = memory_take(&device->memory, MEMORY_KV, bytes),
                   .block_bytes = (int64_t)block_bytes,
                   .plane_bytes = (int64_t)kv_plane_bytes(l),
                   .number = (enum kv_number)kv_number_of(l->dtype),
                   .num_scales = kv_num_scales(l),
                   .scale_bytes = 2 * l->block_size * kv_num_scales(l),
                   .num_blocks = num_blocks,
                   .num_layers = l->num_layers,
                   .num_kv_heads = l->num_kv_heads,
                   .head_dim = l->head_dim,
                   .block_size = l->block_size,
                   .latent_dim = l->latent_dim },
    };
    if (pool->pages.blocks == NULL) {
        free(pool);
        return device_out_of_memory(device, "KV pages", bytes, err);
    }
    *ret_pool = pool;
    return 0;
}

void kv_free(struct kv_pool *pool)
{
    if (pool == NULL)
        return;
    memory_give(&pool->device->memory, pool->pages.blocks);
    free(pool);
}
