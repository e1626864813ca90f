/*
 * vec.h - vectors of float in the instruction set this file is compiled for
 *
 * The sources of this folder are compiled once per instruction set; the flags choose. Names
 * visible outside a file carry the set: SIMD(tile_run) is tile_run_avx512.
 *
 * vec_exp() is the one exponential of a set: in softmax, activations, soft caps, for whole and
 * partial vectors.
 */
#ifndef KERNELS_CPU_SIMD_VEC_H
#define KERNELS_CPU_SIMD_VEC_H

#include <stdint.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/weight.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

#if defined(__aarch64__)

#include "kernels/cpu/simd/vec_neon.h"

#elif defined(__AVX512F__)

#include "kernels/cpu/simd/vec_avx512.h"

#else

#include "kernels/cpu/simd/vec_avx2.h"

#endif

enum { PANEL_VECS = PANEL_ROWS / VEC_LANES };

/* 32 weights of one column in the order of rows. */
static ALWAYS_INLINE void vec_load_panel(enum dtype dtype, const void *panel, int64_t index,
                                         vec out[PANEL_VECS])
{
    const uint16_t *halves = (const uint16_t *)panel + index;
    const float *floats = (const float *)panel + index;

    if (dtype == DTYPE_BF16) {
        vec_load_bf16_panel(halves, out);
        return;
    }
    UNROLLED
    for (int i = 0; i < PANEL_VECS; i++)
        out[i] = dtype == DTYPE_F16 ? vec_load_f16(halves + i * VEC_LANES)
                                    : vec_load(floats + i * VEC_LANES);
}

/*
 * e^a to within 1.5 ulp: a = n ln 2 + r, |r| <= ln 2 / 2, the series to r^7, times 2^n.
 * Below -87 it is 0, e^0 is exactly 1, NaN stays NaN.
 */
static ALWAYS_INLINE vec vec_exp(vec a)
{
    const vec low = vec_set(-87.0f);
    /* The bound comes first, so that a NaN passes through. */
    const vec x = vec_max(low, vec_min(vec_set(88.8f), a));
    const vec n = vec_round(vec_mul(x, vec_set(0x1.715476p+0f)));
    const vec r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), vec_fma(n, vec_set(-0x1.62e400p-1f), x));

    vec p = vec_set(0x1.a01a02p-13f); /* 1 / 7! */
    p = vec_fma(p, r, vec_set(0x1.6c16c2p-10f));
    p = vec_fma(p, r, vec_set(0x1.111112p-7f));
    p = vec_fma(p, r, vec_set(0x1.555556p-5f));
    p = vec_fma(p, r, vec_set(0x1.555556p-3f));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1.0f));
    p = vec_fma(p, r, vec_set(1.0f));

    return vec_zero_below(a, low, vec_scale(p, n));
}

/* Within 2e-7 of the value: near 0 y + y z P(z) with z = y^2 (least squares, |y| <= 5 / 8), else
 * by the exponential. */
static ALWAYS_INLINE vec vec_tanh(vec y)
{
    const vec one = vec_set(1.0f), z = vec_mul(y, y);
    vec p = vec_set(-0x1.68839ep-8f);
    p = vec_fma(p, z, vec_set(0x1.4f1fd8p-6f));
    p = vec_fma(p, z, vec_set(-0x1.b7c43cp-5f));
    p = vec_fma(p, z, vec_set(0x1.110382p-3f));
    p = vec_fma(p, z, vec_set(-0x1.555522p-2f));
    const vec near = vec_fma(vec_mul(p, z), y, y);
    const vec e = vec_exp(vec_add(y, y));
    const vec far = vec_sub(one, vec_div(vec_set(2.0f), vec_add(e, one)));
    return vec_below(z, vec_set(0x1.9p-2f), near, far);
}

static ALWAYS_INLINE vec vec_soft_cap(vec a, float cap)
{
    const vec c = vec_set(cap);
    return vec_mul(c, vec_tanh(vec_div(a, c)));
}

#endif
