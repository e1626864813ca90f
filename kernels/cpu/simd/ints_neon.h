/*
 * ints_neon.h - what ints.h promises, in NEON of aarch64
 *
 * Sixteen bytes are four inputs of four outputs. With the instructions for dot products (ARMv8.2) a
 * lane sums its four by one of them, without by products of 16 bits added in pairs: the same sum.
 */
#ifndef KERNELS_CPU_SIMD_INTS_NEON_H
#define KERNELS_CPU_SIMD_INTS_NEON_H

typedef int32x4_t ivec;

static ALWAYS_INLINE ivec ivec_set(int32_t value)
{
    return vdupq_n_s32(value);
}

static ALWAYS_INLINE ivec ivec_load(const unsigned char *from)
{
    return vreinterpretq_s32_u8(vld1q_u8(from));
}

static ALWAYS_INLINE void ivec_store(unsigned char *to, ivec a)
{
    vst1q_u8(to, vreinterpretq_u8_s32(a));
}

/* Of each byte `value` less. */
static ALWAYS_INLINE ivec ivec_less(ivec a, const int value)
{
    return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(a), vdupq_n_s8((int8_t)value)));
}

/* Of each byte, moved to the right (less than 0: to the left), the bits of `mask`. */
static ALWAYS_INLINE ivec ivec_bits(ivec a, const int right, const int mask)
{
    const uint8x16_t moved = vshlq_u8(vreinterpretq_u8_s32(a), vdupq_n_s8((int8_t)-right));
    return vreinterpretq_s32_u8(vandq_u8(moved, vdupq_n_u8((uint8_t)mask)));
}

/* The four low, or high, bits of bytes as floats. */
static ALWAYS_INLINE vec ivec_load_nibbles(const unsigned char *from, const int right)
{
    uint32_t bytes;
    memcpy(&bytes, from, sizeof(bytes));
    const uint32_t four = bytes >> right & 0x0f0f0f0fU;
    const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)));
}

static ALWAYS_INLINE ivec ivec_or(ivec a, ivec b)
{
    return vorrq_s32(a, b);
}

static ALWAYS_INLINE vec ivec_to_float(ivec a)
{
    return vcvtq_f32_s32(a);
}

/* Bytes of w are at most 127. */
static ALWAYS_INLINE ivec ivec_dot(ivec sum, ivec w, ivec x)
{
    const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, a, b);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(a, b));
    return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
}

static ALWAYS_INLINE ivec ivec_dot_128(ivec sum, ivec w, ivec x)
{
    const uint8x16_t flip = veorq_u8(vreinterpretq_u8_s32(w), vdupq_n_u8(0x80));
    return ivec_dot(sum, vreinterpretq_s32_u8(flip), x);
}

enum { START_128 = 0 };

/* The four bits from bit 4 i on. */
static ALWAYS_INLINE vec nibble(ivec words, const int i)
{
    const uint32x4_t moved = vshlq_u32(vreinterpretq_u32_s32(words), vdupq_n_s32(-4 * i));
    return vcvtq_f32_u32(vandq_u32(moved, vdupq_n_u32(15)));
}

/* Byte `i` of each 16 bits as two vectors: codes of E4M3 times 2^-8, or signed. */
static ALWAYS_INLINE void bytes_of(ivec pairs, const int i, const enum dtype dtype, vec out[2])
{
    const int16x8_t words = vreinterpretq_s16_s32(pairs);
    const int16x8_t high = i == 0 ? vshlq_n_s16(words, 8) : words;
    if (dtype == DTYPE_F8_E4M3) {
        const int16x8_t halves = vandq_s16(vshrq_n_s16(high, 1), vdupq_n_s16((int16_t)0xbf80));
        const float16x8_t values = vreinterpretq_f16_s16(halves);
        out[0] = vcvt_f32_f16(vget_low_f16(values));
        out[1] = vcvt_f32_f16(vget_high_f16(values));
        return;
    }
    const int16x8_t bytes = vshrq_n_s16(high, 8);
    out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(bytes)));
    out[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(bytes)));
}

#endif
