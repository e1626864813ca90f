/*
 * quant_layout.h - how weights in blocks lie in memory
 *
 * A panel of 32 rows holds for each 32 inputs, one behind the other, the low bits of the quants,
 * the bits above them, scales and minima; and in front of each 256 inputs what K-quants have once
 * for them (f16, [32 rows] each). Quants are kept from 0 on, four inputs of a row together, because
 * that is what one lane of an integer dot product takes: 8 bits : [8 groups][32 rows][4 inputs] 4
 * bits : [4 groups][32][4] bytes: inputs 4 g + i below, 16 + 4 g + i above 2 bits : [2
 * halves][32][4] bytes: input 16 h + 4 g + i at bits 2 g, 2 g + 1 2 above: [2][32][4] bytes: groups
 * 2 p and 2 p + 1 of the first half of the inputs (bits 0, 2) and of the second (4, 6) 1 above:
 * [32][4] bytes: input 16 h + 4 g + i at bit 4 h + g Behind them [32] scales, then minima, in f16;
 * or sub-scales and sub-minima in bytes: one each for the block, or two scales, each for half of
 * the inputs, or (Q2_K) two bytes of a scale below and a minimum above. That is as many bytes as
 * the file has, or 2 to 4 % more where its six bits become bytes: 32 rows of a block are one
 * stream, scales beside what they scale.
 */
#ifndef KERNELS_CPU_QUANT_LAYOUT_H
#define KERNELS_CPU_QUANT_LAYOUT_H

#include "kernels/backend.h"

enum { PANEL_ROWS = 32, QUANT_BLOCK = 32, QUANT_SUPER = 8 /* blocks behind one head */ };

enum quant_scale {
    QUANT_SCALE_F16,    /* of the block */
    QUANT_SCALE_BYTE,   /* the head's times an unsigned byte */
    QUANT_SCALE_SIGNED, /* the head's times a signed byte, for each half */
    QUANT_SCALE_NIBBLE, /* the head's times four bits, for each half */
};

enum quant_minimum {
    QUANT_MINIMUM_NONE,
    QUANT_MINIMUM_F16,    /* of the block, and added: what the others are subtracted */
    QUANT_MINIMUM_BYTE,   /* the head's second times an unsigned byte */
    QUANT_MINIMUM_NIBBLE, /* the head's second times four bits, for each half */
};

struct quant_form {
    int low, high;  /* bits of a quant in its first plane, and of those above */
    int offset;     /* what it means is the quant less this */
    int terms;      /* scales of a block: 2 are for half of the inputs each */
    int head, tail; /* bytes a row in front of 256 inputs, behind 32 */
    enum quant_scale scale;
    enum quant_minimum minimum;
};

/* clang-format off */
static const struct quant_form quant_forms[] = {
    [DTYPE_Q8_0] = { 8, 0, 128, 1, 0, 2, QUANT_SCALE_F16,    QUANT_MINIMUM_NONE },
    [DTYPE_Q4_0] = { 4, 0,   8, 1, 0, 2, QUANT_SCALE_F16,    QUANT_MINIMUM_NONE },
    [DTYPE_Q4_1] = { 4, 0,   0, 1, 0, 4, QUANT_SCALE_F16,    QUANT_MINIMUM_F16 },
    [DTYPE_Q5_0] = { 4, 1,  16, 1, 0, 2, QUANT_SCALE_F16,    QUANT_MINIMUM_NONE },
    [DTYPE_Q5_1] = { 4, 1,   0, 1, 0, 4, QUANT_SCALE_F16,    QUANT_MINIMUM_F16 },
    [DTYPE_Q2_K] = { 2, 0,   0, 2, 4, 2, QUANT_SCALE_NIBBLE, QUANT_MINIMUM_NIBBLE },
    [DTYPE_Q3_K] = { 2, 1,   4, 2, 2, 2, QUANT_SCALE_SIGNED, QUANT_MINIMUM_NONE },
    [DTYPE_Q4_K] = { 4, 0,   0, 1, 4, 2, QUANT_SCALE_BYTE,   QUANT_MINIMUM_BYTE },
    [DTYPE_Q5_K] = { 4, 1,   0, 1, 4, 2, QUANT_SCALE_BYTE,   QUANT_MINIMUM_BYTE },
    [DTYPE_Q6_K] = { 4, 2,  32, 2, 2, 2, QUANT_SCALE_SIGNED, QUANT_MINIMUM_NONE },
};
/* clang-format on */

/* Bytes of the first plane of one block of a panel, and of the quants; scales lie behind them. */
static inline size_t quant_low_bytes(enum dtype dtype)
{
    return (size_t)(quant_forms[dtype].low * 4) * PANEL_ROWS;
}

static inline size_t quant_bytes(enum dtype dtype)
{
    return (size_t)((quant_forms[dtype].low + quant_forms[dtype].high) * 4) * PANEL_ROWS;
}

static inline size_t quant_block_bytes(enum dtype dtype)
{
    return quant_bytes(dtype) + (size_t)quant_forms[dtype].tail * PANEL_ROWS;
}

static inline size_t quant_head_bytes(enum dtype dtype)
{
    return (size_t)quant_forms[dtype].head * PANEL_ROWS;
}

/* Where block `block` begins in its panel. */
static inline size_t quant_block_at(enum dtype dtype, int64_t block)
{
    return (size_t)block * quant_block_bytes(dtype) +
           (size_t)(block / QUANT_SUPER + 1) * quant_head_bytes(dtype);
}

/* Where the head of that block's 256 inputs begins. */
static inline size_t quant_head_at(enum dtype dtype, int64_t block)
{
    const int64_t super = block / QUANT_SUPER;
    return (size_t)super * (QUANT_SUPER * quant_block_bytes(dtype) + quant_head_bytes(dtype));
}

static inline size_t quant_panel_bytes(enum dtype dtype, int32_t cols)
{
    return quant_head_at(dtype, 0) + (size_t)(cols / QUANT_BLOCK) * quant_block_bytes(dtype) +
           (size_t)(cols / QUANT_BLOCK / QUANT_SUPER) * quant_head_bytes(dtype);
}

#endif
