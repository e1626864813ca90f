/*
 * quant_layout.h - how weights in blocks lie in memory
 *
 * A panel of 32 rows holds for each 32 inputs, one behind the other,
 *     Q8_0 : [8 groups][32 rows][4 inputs] q + 128 as unsigned bytes | [32 rows] scale, f16
 *     Q4_0 : [4 groups][32 rows][4] bytes: inputs 4 g + i below, 16 + 4 g + i above | scales
 *     Q4_K : quants as Q4_0 | [32] sub-scale, [32] sub-minimum, unsigned bytes
 *     Q6_K : quants' four low bits as Q4_0 | [2][32 rows][4] bytes: two high bits of groups 2 h and
 *            2 h + 1 below (bits 0, 2) and above (4, 6) | [2 halves of the inputs][32] sub-scale,
 * signed and in front of each 256 inputs Q4_K : [32 rows] scale, [32] scale of minima, f16 Q6_K :
 * [32] scale, f16 That is as many bytes as the file has (Q4_K: 148 for its 144): 32 rows of a block
 * are one stream, scales beside what they scale. Four inputs of a row lie together because that is
 * what one lane of an integer dot product takes.
 */
#ifndef KERNELS_CPU_QUANT_LAYOUT_H
#define KERNELS_CPU_QUANT_LAYOUT_H

#include "kernels/backend.h"

enum { PANEL_ROWS = 32, QUANT_BLOCK = 32, QUANT_SUPER = 8 /* blocks behind one head */ };

/* Bytes of the quants of one block of a panel; scales lie behind them. */
static inline size_t quant_bytes(enum dtype dtype)
{
    return (dtype == DTYPE_Q8_0 ? 32 : dtype == DTYPE_Q6_K ? 24 : 16) * PANEL_ROWS;
}

static inline size_t quant_block_bytes(enum dtype dtype)
{
    return quant_bytes(dtype) + 2 * PANEL_ROWS; /* f16, or two bytes */
}

static inline size_t quant_head_bytes(enum dtype dtype)
{
    return dtype == DTYPE_Q4_K ? 4 * PANEL_ROWS : dtype == DTYPE_Q6_K ? 2 * PANEL_ROWS : 0;
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
