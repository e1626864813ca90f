#include <math.h>

#include "kernels/cpu/simd/ops.h"

/* x += delta over n lanes, the sum of squares beside it. */
static ALWAYS_INLINE vec add_squares(float *x, const float *delta, int32_t n, vec squares)
{
    vec value = vec_load_part(x, n);
    if (delta) {
        value = vec_add(value, vec_load_part(delta, n));
        vec_store_part(x, value, n);
    }
    return vec_fma(value, value, squares);
}

static float sum_of_squares(float *x, const float *delta, int32_t cols)
{
    enum { PARTS = 4 }; /* enough to hide the latency of an FMA */
    vec squares[PARTS] = { vec_set(0.0f), vec_set(0.0f), vec_set(0.0f), vec_set(0.0f) };
    int32_t i = 0;

    for (; i + PARTS * VEC_LANES <= cols; i += PARTS * VEC_LANES) {
        UNROLLED
        for (int32_t p = 0; p < PARTS; p++) {
            const int32_t at = i + p * VEC_LANES;
            squares[p] = add_squares(x + at, delta ? delta + at : NULL, VEC_LANES, squares[p]);
        }
    }
    for (; i < cols; i += VEC_LANES) {
        const int32_t n = cols - i < VEC_LANES ? cols - i : VEC_LANES;
        squares[0] = add_squares(x + i, delta ? delta + i : NULL, n, squares[0]);
    }
    return vec_sum(vec_add(vec_add(squares[0], squares[1]), vec_add(squares[2], squares[3])));
}

static void norm_row(const struct norm_args *args, int64_t row)
{
    const int32_t cols = args->cols;
    float *x = args->x + row * cols;
    const float *delta = args->delta ? args->delta + row * cols : NULL;
    const float squares = sum_of_squares(x, delta, cols);
    if (!args->out)
        return;

    float *out = args->out + row * cols;
    const vec scale = vec_set(1.0f / sqrtf(squares / (float)cols + args->eps));
    for (int32_t i = 0; i < cols; i += VEC_LANES) {
        const int32_t n = cols - i < VEC_LANES ? cols - i : VEC_LANES;
        const vec value = vec_mul(vec_load_part(x + i, n), scale);
        vec_store_part(out + i, vec_mul(value, vec_load_part(args->w + i, n)), n);
    }
}

/* x += delta where there is one; the sum of x. */
static float add_and_sum(float *x, const float *delta, int32_t cols)
{
    vec sum = vec_set(0.0f);
    for (int32_t i = 0; i < cols; i += VEC_LANES) {
        const int32_t n = cols - i < VEC_LANES ? cols - i : VEC_LANES;
        vec value = vec_load_part(x + i, n);
        if (delta) {
            value = vec_add(value, vec_load_part(delta + i, n));
            vec_store_part(x + i, value, n);
        }
        sum = vec_add(sum, value);
    }
    return vec_sum(sum);
}

static float sum_of_squares_around(const float *x, float mean, int32_t cols)
{
    vec squares = vec_set(0.0f);
    for (int32_t i = 0; i < cols; i += VEC_LANES) {
        const int32_t n = cols - i < VEC_LANES ? cols - i : VEC_LANES;
        const vec distance = vec_sub(vec_load_part(x + i, n), vec_set(mean));
        squares = vec_select(n, vec_fma(distance, distance, squares), squares);
    }
    return vec_sum(squares);
}

static void layer_norm_row(const struct norm_args *args, int64_t row)
{
    const int32_t cols = args->cols;
    float *x = args->x + row * cols;
    const float sum = add_and_sum(x, args->delta ? args->delta + row * cols : NULL, cols);
    if (!args->out)
        return;

    float *out = args->out + row * cols;
    const float mean = sum / (float)cols;
    const float squares = sum_of_squares_around(x, mean, cols);
    const vec scale = vec_set(1.0f / sqrtf(squares / (float)cols + args->eps));
    for (int32_t i = 0; i < cols; i += VEC_LANES) {
        const int32_t n = cols - i < VEC_LANES ? cols - i : VEC_LANES;
        const vec value = vec_mul(vec_sub(vec_load_part(x + i, n), vec_set(mean)), scale);
        const vec w = vec_load_part(args->w + i, n), bias = vec_load_part(args->bias + i, n);
        vec_store_part(out + i, vec_fma(value, w, bias), n);
    }
}

void SIMD(add_layer_norm)(const struct norm_args *args, int32_t row_from, int32_t row_to)
{
    for (int32_t row = row_from; row < row_to; row++)
        layer_norm_row(args, row);
}

void SIMD(qk_squares)(const struct squares_args *args, int32_t row_from, int32_t row_to)
{
    const int32_t cols = args->q_cols + 2 * args->k_cols;
    for (int64_t row = row_from; row < row_to; row++) {
        const float *x = args->qkv + row * cols;
        args->out[2 * row] = sum_of_squares_around(x, 0.0f, args->q_cols);
        args->out[2 * row + 1] = sum_of_squares_around(x + args->q_cols, 0.0f, args->k_cols);
    }
}

void SIMD(add_rms_norm)(const struct norm_args *args, int32_t row_from, int32_t row_to)
{
    for (int32_t row = row_from; row < row_to; row++)
        norm_row(args, row);
}
