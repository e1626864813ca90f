#include "kernels/cpu/kv.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "kernels/cpu/memory.h"

static bool is_kv_type(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 ||
           dtype == DTYPE_F8_E4M3 || dtype == DTYPE_Q8_0;
}

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
    if (!is_kv_type(layout->dtype))
        return error_set(err, -ENOTSUP, "KV type %s, wanted f32, f16, bf16, fp8 or q8_0",
                         dtype_name(layout->dtype));
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
    pool->plane_bytes = kv_plane_bytes(layout);
    pool->scale_bytes = (size_t)layout->block_size * (size_t)kv_num_scales(layout) * 2;

    const size_t bytes = pool_bytes(pool);
    pool->block_bytes = bytes / (size_t)num_blocks;
    pool->blocks = bytes && bytes < SIZE_MAX - KV_SLACK ? memory_alloc(bytes + KV_SLACK) : NULL;
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

/* --- one position --------------------------------------------------------------------------- */

static struct kv_line line_at(const struct kv_pool *pool, unsigned char *plane, int64_t at,
                              int64_t scale_at, int64_t step, int64_t scale_step)
{
    const struct kv_layout *layout = &pool->layout;
    const size_t size = layout->dtype == DTYPE_Q8_0 ? 1 : dtype_bytes(layout->dtype);
    return (struct kv_line){ layout->dtype,
                             layout->head_dim,
                             step,
                             scale_step,
                             plane + pool->scale_bytes + (size_t)at * size,
                             plane + (size_t)scale_at * 2 };
}

struct kv_line kv_key_line(const struct kv_pool *pool, int64_t slot, int32_t layer, int32_t kv_head)
{
    const int32_t block_size = pool->layout.block_size;
    const int64_t block = slot / block_size, offset = slot % block_size;
    assert(slot >= 0 && block < pool->num_blocks);
    return line_at(pool, kv_keys(pool, block, layer, kv_head), offset, offset, block_size,
                   block_size);
}

struct kv_line kv_value_line(const struct kv_pool *pool, int64_t slot, int32_t layer,
                             int32_t kv_head)
{
    const struct kv_layout *layout = &pool->layout;
    const int64_t block = slot / layout->block_size, offset = slot % layout->block_size;
    assert(slot >= 0 && block < pool->num_blocks && layout->latent_dim == 0);
    return line_at(pool, kv_keys(pool, block, layer, kv_head) + pool->plane_bytes,
                   offset * layout->head_dim, offset * kv_num_scales(layout), 1, 1);
}

uint16_t kv_quant_scale(float max)
{
    const float scale = max / 127.0f;
    return half_to_f16(scale > 65504.0f ? 65504.0f : scale);
}

static int8_t quant_of_value(float x, float scale)
{
    const float q = scale > 0.0f ? x / scale : 0.0f; /* 0 also where the scale is NaN */
    return (int8_t)lrintf(q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q);
}

static void write_quants(const struct kv_line *line, const float *from)
{
    for (int32_t b = 0; b * KV_QUANT < line->num; b++) {
        const int32_t end = (b + 1) * KV_QUANT < line->num ? (b + 1) * KV_QUANT : line->num;
        float max = 0.0f, none = 0.0f; /* none: NaN where one is not finite */
        for (int32_t i = b * KV_QUANT; i < end; i++) {
            max = fmaxf(max, fabsf(from[i]));
            none += 0.0f * from[i];
        }
        const uint16_t half = kv_quant_scale(max + none);
        const float scale = half_from_f16(half);
        memcpy(line->scales + 2 * b * line->scale_step, &half, sizeof(half));
        for (int32_t i = b * KV_QUANT; i < end; i++)
            line->values[i * line->step] = (unsigned char)quant_of_value(from[i], scale);
    }
}

static uint16_t read_half(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return half;
}

static float read_float(const unsigned char *from)
{
    float value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static void write_half(unsigned char *to, uint16_t half)
{
    memcpy(to, &half, sizeof(half));
}

/* The statement for each value i, which has `size` bytes at `at`. */
#define EACH(line, size, at, statement)                                                            \
    for (int64_t i = 0; i < (line)->num; i++) {                                                    \
        unsigned char *at = (line)->values + (size)*i * (line)->step;                              \
        statement;                                                                                 \
    }

void kv_line_write(const struct kv_line *line, const float *from)
{
    switch (line->dtype) {
    case DTYPE_F16:
        EACH(line, 2, at, write_half(at, half_to_f16(from[i])));
        return;
    case DTYPE_BF16:
        EACH(line, 2, at, write_half(at, half_to_bf16(from[i])));
        return;
    case DTYPE_F8_E4M3:
        EACH(line, 1, at, *at = e4m3_encode(from[i]));
        return;
    case DTYPE_Q8_0:
        write_quants(line, from);
        return;
    default:
        EACH(line, 4, at, memcpy(at, &from[i], sizeof(from[i])));
    }
}

static float scale_of(const struct kv_line *line, int64_t i)
{
    return half_from_f16(read_half(line->scales + 2 * (i / KV_QUANT) * line->scale_step));
}

void kv_line_read(const struct kv_line *line, float *to)
{
    switch (line->dtype) {
    case DTYPE_F16:
        EACH(line, 2, at, to[i] = half_from_f16(read_half(at)));
        return;
    case DTYPE_BF16:
        EACH(line, 2, at, to[i] = half_from_bf16(read_half(at)));
        return;
    case DTYPE_F8_E4M3:
        EACH(line, 1, at, to[i] = e4m3_decode(*at));
        return;
    case DTYPE_Q8_0:
        EACH(line, 1, at, to[i] = scale_of(line, i) * (float)(int8_t)*at);
        return;
    default:
        EACH(line, 4, at, to[i] = read_float(at));
    }
}
