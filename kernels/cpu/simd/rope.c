#include <assert.h>
#include <math.h>

#include "kernels/cpu/simd/ops.h"

static void rotate(float *head, const float *cosines, const float *sines, int32_t half)
{
    for (int32_t i = 0; i < half; i += VEC_LANES) {
        const int32_t n = half - i < VEC_LANES ? half - i : VEC_LANES;
        const vec a = vec_load_part(head + i, n), b = vec_load_part(head + half + i, n);
        const vec c = vec_load_part(cosines + i, n), s = vec_load_part(sines + i, n);
        vec_store_part(head + i, vec_sub(vec_mul(a, c), vec_mul(b, s)), n);
        vec_store_part(head + half + i, vec_add(vec_mul(b, c), vec_mul(a, s)), n);
    }
}

static float mean_of(const float *head, int32_t dim)
{
    vec sum = vec_set(0.0f);
    for (int32_t i = 0; i < dim; i += VEC_LANES)
        sum = vec_add(sum, vec_load_part(head + i, dim - i < VEC_LANES ? dim - i : VEC_LANES));
    return vec_sum(sum) / (float)dim;
}

static float mean_square(const float *head, float mean, int32_t dim)
{
    vec squares = vec_set(0.0f);
    for (int32_t i = 0; i < dim; i += VEC_LANES) {
        const int32_t n = dim - i < VEC_LANES ? dim - i : VEC_LANES;
        const vec distance = vec_sub(vec_load_part(head + i, n), vec_set(mean));
        squares = vec_select(n, vec_fma(distance, distance, squares), squares);
    }
    return vec_sum(squares) / (float)dim;
}

/* head = (head - mean) * scale * w + bias */
static void scale_head(float *head, float mean, float scale, const float *w, const float *bias,
                       int32_t dim)
{
    for (int32_t i = 0; i < dim; i += VEC_LANES) {
        const int32_t n = dim - i < VEC_LANES ? dim - i : VEC_LANES;
        const vec value = vec_sub(vec_load_part(head + i, n), vec_set(mean));
        const vec normed = vec_mul(vec_mul(value, vec_set(scale)), vec_load_part(w + i, n));
        vec_store_part(head + i, bias ? vec_add(normed, vec_load_part(bias + i, n)) : normed, n);
    }
}

/* A norm of each head's own. */
static void norm_head(float *head, const float *w, const float *bias, float eps, int32_t dim)
{
    const float mean = bias ? mean_of(head, dim) : 0.0f;
    scale_head(head, mean, 1.0f / sqrtf(mean_square(head, mean, dim) + eps), w, bias, dim);
}

/* The query heads of a group, and its key. */
static void norm_group(const struct rope_args *args, int64_t row, int32_t kv_head, float *queries,
                       float *k)
{
    const struct qk_norm *n = &args->norm;
    const int32_t dim = args->pool->layout.head_dim;
    const int32_t group = args->num_heads / args->pool->layout.num_kv_heads;

    if (!n->squares) {
        for (int32_t i = 0; i < group; i++)
            norm_head(queries + i * dim, n->q, n->q_bias, n->eps, dim);
        norm_head(k, n->k, n->k_bias, n->eps, dim);
        return;
    }
    const float *squares = n->squares + 2 * row;
    const float q_scale = 1.0f / sqrtf(squares[0] / (float)n->q_cols + n->eps);
    const float k_scale = 1.0f / sqrtf(squares[1] / (float)n->k_cols + n->eps);
    scale_head(queries, 0.0f, q_scale, n->q + kv_head * group * dim, NULL, group * dim);
    scale_head(k, 0.0f, k_scale, n->k + kv_head * dim, NULL, dim);
}

/* out: [head_dim rounded up to VEC_LANES] */
static void round_f16(uint16_t *out, const float *from, int32_t num)
{
    for (int32_t i = 0; i < num; i += VEC_LANES) {
        const int32_t n = num - i < VEC_LANES ? num - i : VEC_LANES;
        vec_store_f16(out + i, vec_load_part(from + i, n));
    }
}

static void write_f16(uint16_t *keys, uint16_t *values, int32_t block_size, const float *k,
                      const float *v, int32_t dim)
{
    uint16_t rounded[KV_MAX_HEAD_DIM + VEC_LANES];

    round_f16(rounded, k, dim);
    for (int32_t d = 0; d < dim; d++)
        keys[(int64_t)d * block_size] = rounded[d];
    round_f16(rounded, v, dim);
    memcpy(values, rounded, (size_t)dim * sizeof(*values));
}

static void write_f32(float *keys, float *values, int32_t block_size, const float *k,
                      const float *v, int32_t dim)
{
    for (int32_t d = 0; d < dim; d++)
        keys[(int64_t)d * block_size] = k[d];
    memcpy(values, v, (size_t)dim * sizeof(*values));
}

static void write_kv(const struct rope_args *args, int64_t slot, int32_t kv_head, const float *k,
                     const float *v)
{
    const struct kv_layout *layout = &args->pool->layout;
    const int64_t block = slot / layout->block_size, offset = slot % layout->block_size;
    const int32_t dim = layout->head_dim;
    unsigned char *keys = kv_keys(args->pool, block, args->layer, kv_head);
    unsigned char *values = keys + args->pool->plane_bytes;

    assert(slot >= 0 && block < args->pool->num_blocks);
    if (layout->dtype == DTYPE_F16)
        write_f16((uint16_t *)(void *)keys + offset, (uint16_t *)(void *)values + offset * dim,
                  layout->block_size, k, v, dim);
    else
        write_f32((float *)(void *)keys + offset, (float *)(void *)values + offset * dim,
                  layout->block_size, k, v, dim);
}

static void rope_unit(const struct rope_args *args, int64_t row, int32_t kv_head)
{
    const struct kv_layout *layout = &args->pool->layout;
    const int32_t dim = layout->head_dim, half = args->rope->rotary_dims / 2;
    const int32_t group = args->num_heads / layout->num_kv_heads;
    const int32_t position = args->positions[row];
    float *heads = args->qkv + row * (args->num_heads + 2 * layout->num_kv_heads) * dim;
    float *k = heads + (args->num_heads + kv_head) * dim, *v = k + layout->num_kv_heads * dim;

    assert(position >= 0 && position < args->rope->max_positions);
    const float *cosines = args->rope->cos + (int64_t)position * half;
    const float *sines = args->rope->sin + (int64_t)position * half;
    if (args->norm.q)
        norm_group(args, row, kv_head, heads + kv_head * group * dim, k);
    for (int32_t i = 0; i < group; i++)
        rotate(heads + (kv_head * group + i) * dim, cosines, sines, half);
    rotate(k, cosines, sines, half);
    write_kv(args, args->slots[row], kv_head, k, v);
}

void SIMD(rope_kv_write)(const struct rope_args *args, int64_t unit_from, int64_t unit_to)
{
    const int32_t kv_heads = args->pool->layout.num_kv_heads;
    for (int64_t unit = unit_from; unit < unit_to; unit++)
        rope_unit(args, unit / kv_heads, (int32_t)(unit % kv_heads));
}
