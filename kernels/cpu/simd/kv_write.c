/* One position of K or V: rounded to the type of its page all at once, then put into its places. */
#include <math.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "kernels/cpu/simd/ops.h"

enum { QUANT_VECS = KV_QUANT / VEC_LANES };

static void round_f16(uint16_t *out, const float *from, int32_t num)
{
    for (int32_t i = 0; i < num; i += VEC_LANES) {
        const int32_t n = num - i < VEC_LANES ? num - i : VEC_LANES;
        vec_store_f16(out + i, vec_load_part(from + i, n));
    }
}

static void round_bf16(uint16_t *out, const float *from, int32_t num)
{
    for (int32_t i = 0; i < num; i++)
        out[i] = half_to_bf16(from[i]);
}

static void round_e4m3(unsigned char *out, const float *from, int32_t num)
{
    for (int32_t i = 0; i < num; i++)
        out[i] = e4m3_encode(from[i]);
}

/* `num` values of at most KV_QUANT, zeros behind. Returns their scale, f16. */
static uint16_t round_quant(int8_t *out, const float *from, int32_t num)
{
    const vec zero = vec_set(0.0f), limit = vec_set(127.0f), low = vec_set(-127.0f);
    vec v[QUANT_VECS], largest = zero, none = zero; /* none: NaN where one is not finite */

    UNROLLED
    for (int32_t i = 0; i < QUANT_VECS; i++) {
        const int32_t n = num - i * VEC_LANES;
        v[i] = n >= VEC_LANES ? vec_load(from + i * VEC_LANES)
               : n > 0        ? vec_load_part(from + i * VEC_LANES, n)
                              : zero;
        largest = vec_max(largest, vec_max(v[i], vec_sub(zero, v[i])));
        none = vec_fma(zero, v[i], none);
    }
    const uint16_t half = kv_quant_scale(vec_largest(largest) + vec_sum(none));
    const float scale = half_from_f16(half);

    UNROLLED
    for (int32_t i = 0; i < QUANT_VECS; i++) {
        const vec q = scale > 0.0f ? vec_div(v[i], vec_set(scale)) : zero;
        vec_store_i8(out + i * VEC_LANES, vec_round(vec_max(low, vec_min(limit, q))));
    }
    return half;
}

static void round_quants(const struct kv_line *line, int8_t *out, const float *from)
{
    for (int32_t b = 0; b * KV_QUANT < line->num; b++) {
        const int32_t first = b * KV_QUANT, left = line->num - first;
        const uint16_t scale =
            round_quant(out + first, from + first, left < KV_QUANT ? left : KV_QUANT);
        memcpy(line->scales + 2 * b * line->scale_step, &scale, sizeof(scale));
    }
}

static void put(const struct kv_line *line, const void *rounded, size_t size)
{
    if (line->step == 1) {
        memcpy(line->values, rounded, (size_t)line->num * size);
    } else if (size == 1) {
        for (int32_t i = 0; i < line->num; i++)
            line->values[i * line->step] = ((const unsigned char *)rounded)[i];
    } else if (size == 2) {
        for (int32_t i = 0; i < line->num; i++)
            ((uint16_t *)(void *)line->values)[i * line->step] = ((const uint16_t *)rounded)[i];
    } else {
        for (int32_t i = 0; i < line->num; i++)
            ((float *)(void *)line->values)[i * line->step] = ((const float *)rounded)[i];
    }
}

void SIMD(kv_write)(const struct kv_line *line, const float *from)
{
    union {
        uint16_t halves[KV_MAX_HEAD_DIM + VEC_LANES];
        unsigned char bytes[KV_MAX_HEAD_DIM];
        int8_t quants[KV_MAX_HEAD_DIM];
    } rounded;

    switch (line->dtype) {
    case DTYPE_F16:
        round_f16(rounded.halves, from, line->num);
        put(line, rounded.halves, 2);
        return;
    case DTYPE_BF16:
        round_bf16(rounded.halves, from, line->num);
        put(line, rounded.halves, 2);
        return;
    case DTYPE_F8_E4M3:
        round_e4m3(rounded.bytes, from, line->num);
        put(line, rounded.bytes, 1);
        return;
    case DTYPE_Q8_0:
        round_quants(line, rounded.quants, from);
        put(line, rounded.quants, 1);
        return;
    default:
        put(line, from, 4);
    }
}
