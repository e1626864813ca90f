#include "kernels/cpu/simd/attend.h"

enum { BLOCK = ATTENTION_BLOCK };

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Part of a page: `num` positions from `offset`, to column or row `at` of the scratch. */
struct part {
    const unsigned char *keys;
    int32_t offset, num, at;
};

/* `n` positions of values [d, d_to) of K, which have one scale, from part->offset + i on. */
static ALWAYS_INLINE void widen_columns(const struct kv_layout *layout, const unsigned char *values,
                                        int64_t offset, int32_t d, int32_t d_to, int32_t n,
                                        vec scale, float *to, const enum dtype dtype)
{
    for (; d < d_to; d++) {
        vec value = attend_load(dtype, values, d * (int64_t)layout->block_size + offset);
        if (dtype == DTYPE_Q8_0)
            value = vec_mul(value, scale);
        if (n >= VEC_LANES)
            vec_store(to + d * BLOCK, value);
        else
            vec_store_part(to + d * BLOCK, value, n);
    }
}

static ALWAYS_INLINE void widen_keys(const struct attention_args *args, const struct part *part,
                                     float *keys, const enum dtype dtype)
{
    const struct kv_layout *layout = &args->pool->layout;
    const unsigned char *values = part->keys + args->pool->scale_bytes;
    const uint16_t *scales = (const uint16_t *)(const void *)part->keys;
    const int32_t step = dtype == DTYPE_Q8_0 ? KV_QUANT : layout->head_dim;

    for (int32_t i = 0; i < part->num; i += VEC_LANES)
        for (int32_t d = 0; d < layout->head_dim; d += step) {
            const int64_t at = d / step * (int64_t)layout->block_size + part->offset + i;
            const vec scale = dtype == DTYPE_Q8_0 ? vec_load_f16(scales + at) : vec_set(1.0f);
            widen_columns(layout, values, part->offset + i, d, min_i32(d + step, layout->head_dim),
                          part->num - i, scale, keys + part->at + i, dtype);
        }
}

/* To whole vectors: rows of the scratch are long enough, and what lies behind a head is not used.
 */
static ALWAYS_INLINE void widen_values(const struct attention_args *args, const struct part *part,
                                       float *to, const enum dtype dtype)
{
    const struct kv_layout *layout = &args->pool->layout;
    const unsigned char *plane = part->keys + args->pool->plane_bytes;
    const uint16_t *scales = (const uint16_t *)(const void *)plane;
    const int32_t num_scales = kv_num_scales(layout);

    for (int32_t i = 0; i < part->num; i++) {
        const int64_t row = part->offset + i;
        for (int32_t d = 0; d < layout->head_dim; d += VEC_LANES) {
            vec value =
                attend_load(dtype, plane + args->pool->scale_bytes, row * layout->head_dim + d);
            if (dtype == DTYPE_Q8_0)
                value = vec_mul(value, vec_set_f16(scales + row * num_scales + d / KV_QUANT));
            vec_store(to + (part->at + i) * args->padded_dim + d, value);
        }
    }
}

/* Values that are part of the keys: columns [at, at + num) of these become rows. A square of them
 * at a time, also where it holds more columns than asked for: `at` + a square is in the block, and
 * rows of other positions are written anew when theirs come. */
static void turn_latents(const struct attention_args *args, int32_t num, int32_t at,
                         struct attention_scratch *scratch)
{
    const int32_t first = at / VEC_LANES * VEC_LANES;
    for (int32_t i = first; i < at + num; i += VEC_LANES)
        for (int32_t d = 0; d < args->value_dim; d += VEC_LANES) {
            vec square[VEC_LANES];
            UNROLLED
            for (int32_t k = 0; k < VEC_LANES; k++)
                square[k] = vec_load(scratch->keys + (d + k) * BLOCK + i);
            vec_transpose(square);
            UNROLLED
            for (int32_t k = 0; k < VEC_LANES; k++)
                vec_store(scratch->values + (i + k) * args->padded_dim + d, square[k]);
        }
}

static ALWAYS_INLINE void widen_as(const struct attention_args *args, const struct part *part,
                                   struct attention_scratch *scratch, const enum dtype dtype)
{
    widen_keys(args, part, scratch->keys, dtype);
    if (args->pool->layout.latent_dim > 0)
        turn_latents(args, part->num, part->at, scratch);
    else
        widen_values(args, part, scratch->values, dtype);
}

static void widen_part(const struct attention_args *args, const struct part *part,
                       struct attention_scratch *scratch)
{
    switch (args->pool->layout.dtype) {
    case DTYPE_F16:
        widen_as(args, part, scratch, DTYPE_F16);
        return;
    case DTYPE_BF16:
        widen_as(args, part, scratch, DTYPE_BF16);
        return;
    case DTYPE_F8_E4M3:
        widen_as(args, part, scratch, DTYPE_F8_E4M3);
        return;
    case DTYPE_Q8_0:
        widen_as(args, part, scratch, DTYPE_Q8_0);
        return;
    default:
        widen_as(args, part, scratch, DTYPE_F32);
    }
}

void SIMD(attend_widen)(const struct attention_args *args, const struct attention_tile *tile,
                        int32_t first, int32_t from, int32_t to, struct attention_scratch *scratch)
{
    const int32_t block_size = args->pool->layout.block_size;
    for (int32_t pos = from; pos < to;) {
        const int32_t offset = pos % block_size, num = min_i32(block_size - offset, to - pos);
        const int32_t block = attention_block(args, tile, pos);
        const struct part part = { kv_keys(args->pool, block, args->layer, tile->kv_head), offset,
                                   num, pos - first };
        attend_ask(args, tile, pos + num);
        widen_part(args, &part, scratch);
        pos += num;
    }
}
