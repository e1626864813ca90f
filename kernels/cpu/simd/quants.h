/*
 * quants.h - weights in blocks (quant_layout.h) as vectors: quants, scales and minima of a panel,
 * one vector at a time, or of DEPTH blocks widened into the first-level cache for many rows
 */
#ifndef KERNELS_CPU_SIMD_QUANTS_H
#define KERNELS_CPU_SIMD_QUANTS_H

#include "kernels/cpu/quant.h"
#include "kernels/cpu/simd/ints.h"

enum {
    QUANTS_GROUP = PANEL_ROWS * 4, /* bytes of four inputs */
    QUANTS_AHEAD = 4096,
    QUANTS_BLOCK = QUANT_BLOCK * PANEL_ROWS, /* bytes of a block, widened */
    QUANTS_DEPTH = 16,                       /* blocks: a multiple of QUANT_SUPER */
};

/* Blocks of one panel: bytes [block][8 groups][32 outputs][4 inputs], floats [part][32 outputs];
 * a part of the inputs is what has one scale. */
struct quants_wide {
    _Alignas(64) unsigned char w[QUANTS_DEPTH * QUANTS_BLOCK];
    _Alignas(64) float scales[2 * QUANTS_DEPTH * PANEL_ROWS];
    _Alignas(64) float minima[2 * QUANTS_DEPTH * PANEL_ROWS];
};

static ALWAYS_INLINE ivec quants_load(const unsigned char *from, const bool ahead)
{
    if (ahead)
        __builtin_prefetch(from + QUANTS_AHEAD, 0, 2);
    return ivec_load(from);
}

/* The bits above the low ones, at their place. */
static ALWAYS_INLINE ivec quants_high(const unsigned char *plane, const int half, const int g,
                                      const enum dtype dtype, const bool ahead)
{
    const int low = quant_forms[dtype].low;
    if (quant_forms[dtype].high == 1)
        return ivec_bits(quants_load(plane, ahead && half == 0 && g == 0), 4 * half + g - low,
                         1 << low);
    return ivec_bits(quants_load(plane + g / 2 * QUANTS_GROUP, ahead && half == 0 && g % 2 == 0),
                     4 * half + g % 2 * 2 - low, 3 << low);
}

/* Quants of inputs 16 half + 4 g and the three behind it, in the lanes of one vector. `block`: of
 * the first lane; `ahead`: ask for the line that comes 4 KiB behind. */
static ALWAYS_INLINE ivec quants_of(const unsigned char *block, const int half, const int g,
                                    const enum dtype dtype, const bool ahead)
{
    const int low = quant_forms[dtype].low;
    ivec bits;
    if (low == 8)
        return quants_load(block + (4 * half + g) * QUANTS_GROUP, ahead);
    if (low == 4)
        bits = ivec_bits(quants_load(block + g * QUANTS_GROUP, ahead && half == 0), 4 * half, 15);
    else
        bits = ivec_bits(quants_load(block + half * QUANTS_GROUP, ahead && g == 0), 2 * g, 3);
    if (quant_forms[dtype].high == 0)
        return bits;
    return ivec_or(bits, quants_high(block + quant_low_bytes(dtype), half, g, dtype, ahead));
}

/* Scales of the lanes from `lane` on. */
static ALWAYS_INLINE vec quants_scale(const unsigned char *block, const unsigned char *head,
                                      const size_t lane, const enum dtype dtype, const int part)
{
    const unsigned char *tail = block + quant_bytes(dtype);
    const uint16_t *whole = (const uint16_t *)(const void *)head + lane;
    if (part == 0 && lane == 0)
        __builtin_prefetch(tail + QUANTS_AHEAD, 0, 2);
    switch (quant_forms[dtype].scale) {
    case QUANT_SCALE_F16:
        break;
    case QUANT_SCALE_BYTE:
        return vec_mul(vec_load_f16(whole), vec_load_u8(tail + lane));
    case QUANT_SCALE_SIGNED:
        return vec_mul(vec_load_f16(whole), vec_load_s8(tail + part * PANEL_ROWS + lane));
    case QUANT_SCALE_NIBBLE:
        return vec_mul(vec_load_f16(whole), ivec_load_nibbles(tail + part * PANEL_ROWS + lane, 0));
    }
    return vec_load_f16((const uint16_t *)(const void *)tail + lane);
}

/* Minima of a type that has some; those that are added are negative. */
static ALWAYS_INLINE vec quants_minimum(const unsigned char *block, const unsigned char *head,
                                        const size_t lane, const enum dtype dtype, const int part)
{
    const unsigned char *tail = block + quant_bytes(dtype);
    const uint16_t *whole = (const uint16_t *)(const void *)head + PANEL_ROWS + lane;
    if (quant_forms[dtype].minimum == QUANT_MINIMUM_F16)
        return vec_mul(vec_set(-1.0f),
                       vec_load_f16((const uint16_t *)(const void *)tail + PANEL_ROWS + lane));
    if (quant_forms[dtype].minimum == QUANT_MINIMUM_BYTE)
        return vec_mul(vec_load_f16(whole), vec_load_u8(tail + PANEL_ROWS + lane));
    return vec_mul(vec_load_f16(whole), ivec_load_nibbles(tail + part * PANEL_ROWS + lane, 4));
}

static ALWAYS_INLINE bool quants_has_minima(const enum dtype dtype)
{
    return quant_forms[dtype].minimum != QUANT_MINIMUM_NONE;
}

/* One block's quants: from 0 on, or as signed bytes. */
static ALWAYS_INLINE void quants_widen_block(const enum dtype dtype, const unsigned char *block,
                                             unsigned char *restrict to, const bool is_signed)
{
    const int offset = is_signed ? quant_forms[dtype].offset : 0;
    UNROLLED
    for (int i = 0; i < 8; i++) {
        UNROLLED
        for (int lane = 0; lane < PANEL_ROWS; lane += VEC_LANES)
            ivec_store(to + i * QUANTS_GROUP + 4 * lane,
                       ivec_less(quants_of(block + 4 * lane, i / 4, i % 4, dtype, true), offset));
    }
}

/* Blocks [first, first + num) of a panel. */
static ALWAYS_INLINE void quants_widen(const enum dtype dtype, const unsigned char *panel,
                                       int64_t first, int32_t num, const bool is_signed,
                                       struct quants_wide *wide)
{
    const int terms = quant_forms[dtype].terms;
    for (int32_t b = 0; b < num; b++) {
        const unsigned char *block = panel + quant_block_at(dtype, first + b);
        const unsigned char *head = panel + quant_head_at(dtype, first + b);
        quants_widen_block(dtype, block, wide->w + b * QUANTS_BLOCK, is_signed);
        UNROLLED
        for (int i = 0; i < terms * PANEL_ROWS; i += VEC_LANES) {
            const int part = i / PANEL_ROWS;
            const size_t lane = (size_t)(i % PANEL_ROWS);
            const int32_t at = b * terms * PANEL_ROWS + i;
            vec_store(wide->scales + at, quants_scale(block, head, lane, dtype, part));
            if (quants_has_minima(dtype))
                vec_store(wide->minima + at, quants_minimum(block, head, lane, dtype, part));
        }
    }
}

#endif
