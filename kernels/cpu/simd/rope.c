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

static void write_kv(const struct rope_args *args, int64_t slot, int32_t kv_head, const float *k,
                     const float *v)
{
    const struct kv_line key = kv_key_line(args->pool, slot, args->layer, kv_head);
    const struct kv_line value = kv_value_line(args->pool, slot, args->layer, kv_head);
    SIMD(kv_write)(&key, k);
    SIMD(kv_write)(&value, v);
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
