#include <math.h>

#include "kernels/cpu/simd/ops.h"

enum { BLOCK_VECS = QUANT_BLOCK / VEC_LANES, SECOND = 1 << 12 };

/* What is not finite becomes NaN in the product by the inverse, hence in the sum. Both sums, of at
 * most 16 * 127, are made as one whole number. */
static ALWAYS_INLINE void quantize_block(const float *x, int8_t *q, float *scale, int32_t sums[2])
{
    const vec zero = vec_set(0.0f);
    vec v[BLOCK_VECS], largest = zero, total[2] = { zero, zero };

    UNROLLED
    for (int i = 0; i < BLOCK_VECS; i++) {
        v[i] = vec_load(x + i * VEC_LANES);
        largest = vec_max(largest, vec_max(v[i], vec_sub(zero, v[i])));
    }
    const float max = vec_largest(largest);
    const bool is_zero = max < QUANT_TINY;
    const vec inverse = vec_set(is_zero ? 0.0f : 127.0f / max);

    UNROLLED
    for (int i = 0; i < BLOCK_VECS; i++) {
        v[i] = vec_round(vec_mul(v[i], inverse));
        total[i * VEC_LANES / 16] = vec_add(total[i * VEC_LANES / 16], v[i]);
    }
    const float both = vec_sum(vec_fma(total[1], vec_set(SECOND), total[0]));
    const bool is_finite = both == both;
    const int32_t whole = is_finite ? (int32_t)both : 0;
    UNROLLED
    for (int i = 0; i < BLOCK_VECS; i++)
        vec_store_i8(q + i * VEC_LANES, is_finite ? v[i] : zero);
    *scale = !is_finite ? NAN : is_zero ? 0.0f : max / 127.0f;
    sums[1] = (whole + SECOND / 2) >> 12; /* rounded down */
    sums[0] = whole - sums[1] * SECOND;
}

void SIMD(quantize)(const struct quantize_args *args, int32_t row_from, int32_t row_to)
{
    const int64_t cols = args->cols, blocks = cols / QUANT_BLOCK;
    for (int64_t row = row_from; row < row_to; row++) {
        int8_t *q = args->out.q + row * quant_stride(cols);
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t i = row * blocks + b;
            quantize_block(args->x + i * QUANT_BLOCK, q + b * QUANT_BLOCK, &args->out.scales[i],
                           &args->out.sums[2 * i]);
        }
    }
}
