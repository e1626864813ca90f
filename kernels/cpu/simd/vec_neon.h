/*
 * vec_neon.h - what vec.h promises, in NEON of aarch64 (ARMv8.0): four lanes
 */
#ifndef KERNELS_CPU_SIMD_VEC_NEON_H
#define KERNELS_CPU_SIMD_VEC_NEON_H

#include <arm_neon.h>

#define SIMD(name) name##_neon
#define SIMD_NAME  "neon"

typedef float32x4_t vec;

enum { VEC_LANES = 4 };

/* Lanes below n are all ones. */
static ALWAYS_INLINE uint32x4_t vec_mask(int32_t n)
{
    static const int32_t lanes[4] = { 0, 1, 2, 3 };
    return vcgtq_s32(vdupq_n_s32(n), vld1q_s32(lanes));
}

static ALWAYS_INLINE vec vec_set(float value)
{
    return vdupq_n_f32(value);
}

static ALWAYS_INLINE vec vec_load(const float *from)
{
    return vld1q_f32(from);
}

static ALWAYS_INLINE void vec_store(float *to, vec a)
{
    vst1q_f32(to, a);
}

static ALWAYS_INLINE vec vec_load_part(const float *from, int32_t n)
{
    float all[4] = { 0.0f };
    if (n >= VEC_LANES)
        return vld1q_f32(from);
    for (int32_t i = 0; i < n; i++)
        all[i] = from[i];
    return vld1q_f32(all);
}

static ALWAYS_INLINE void vec_store_part(float *to, vec a, int32_t n)
{
    float all[4];
    if (n >= VEC_LANES) {
        vst1q_f32(to, a);
        return;
    }
    vst1q_f32(all, a);
    for (int32_t i = 0; i < n; i++)
        to[i] = all[i];
}

static ALWAYS_INLINE vec vec_select(int32_t n, vec a, vec b)
{
    return vbslq_f32(vec_mask(n), a, b);
}

static ALWAYS_INLINE vec vec_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}

static ALWAYS_INLINE vec vec_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}

static ALWAYS_INLINE vec vec_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}

static ALWAYS_INLINE vec vec_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}

static ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static ALWAYS_INLINE vec vec_min(vec a, vec b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}

static ALWAYS_INLINE vec vec_round(vec a)
{
    return vrndnq_f32(a);
}

static ALWAYS_INLINE vec times_power(vec a, vec n)
{
    const int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(bits));
}

/* n reaches 128, whose power of two has no float: in two steps. */
static ALWAYS_INLINE vec vec_scale(vec a, vec n)
{
    const vec half = vec_round(vmulq_f32(n, vdupq_n_f32(0.5f)));
    return times_power(times_power(a, half), vsubq_f32(n, half));
}

static ALWAYS_INLINE vec vec_zero_below(vec a, vec b, vec c)
{
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(c), vcltq_f32(a, b)));
}

static ALWAYS_INLINE vec vec_below(vec a, vec b, vec yes, vec no)
{
    return vbslq_f32(vcltq_f32(a, b), yes, no);
}

static ALWAYS_INLINE float vec_sum(vec a)
{
    return vaddvq_f32(a);
}

/* Of numbers: NaN only where every lane is one. */
static ALWAYS_INLINE float vec_largest(vec a)
{
    return vmaxnmvq_f32(a);
}

static ALWAYS_INLINE vec vec_load_f16(const uint16_t *from)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
}

static ALWAYS_INLINE vec vec_load_f16_part(const uint16_t *from, int32_t n)
{
    uint16_t halves[4] = { 0 };
    memcpy(halves, from, (size_t)n * sizeof(halves[0]));
    return vec_load_f16(halves);
}

static ALWAYS_INLINE void vec_store_f16(uint16_t *to, vec a)
{
    vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}

static ALWAYS_INLINE vec vec_set_f16(const uint16_t *from)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(*from)));
}

static ALWAYS_INLINE vec vec_load_bf16(const uint16_t *from)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(from), 16));
}

static ALWAYS_INLINE vec vec_load_e4m3(const unsigned char *from)
{
    uint32_t codes;
    memcpy(&codes, from, sizeof(codes));
    const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(codes)));
    const int16x4_t moved =
        vand_s16(vshl_n_s16(vget_low_s16(words), 7), vdup_n_s16((int16_t)0xbf80));
    const vec value = vmulq_f32(vcvt_f32_f16(vreinterpret_f16_s16(moved)), vdupq_n_f32(256.0f));
    const uint32x4_t is_nan = vceqq_f32(vabsq_f32(value), vdupq_n_f32(480.0f));
    return vbslq_f32(is_nan, vdupq_n_f32(__builtin_nanf("")), value);
}

static ALWAYS_INLINE vec vec_load_u8(const unsigned char *from)
{
    uint32_t bytes;
    memcpy(&bytes, from, sizeof(bytes));
    const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)));
}

static ALWAYS_INLINE vec vec_load_s8(const unsigned char *from)
{
    uint32_t bytes;
    memcpy(&bytes, from, sizeof(bytes));
    const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
}

static ALWAYS_INLINE void vec_store_i8(int8_t *to, vec a)
{
    const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(a));
    const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
    const uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    memcpy(to, &four, sizeof(four));
}

static ALWAYS_INLINE void vec_load_bf16_panel(const uint16_t *from, vec out[8])
{
    UNROLLED
    for (int i = 0; i < 4; i++) {
        const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(from + 8 * i));
        out[i] = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
        out[i + 4] = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
    }
}

/* Lane j of row i becomes lane i of row j. */
static ALWAYS_INLINE void vec_transpose(vec r[4])
{
    const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

#endif
