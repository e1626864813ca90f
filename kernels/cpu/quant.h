/*
 * quant.h - weights in blocks of 32 inputs, and activations rounded to such blocks
 *
 * A panel of 32 rows holds for each block of inputs, one behind the other,
 *     Q8_0 : [8 groups][32 rows][4 inputs] q + 128 as unsigned bytes | [32 rows] scale, f16
 *     Q4_0 : [4 groups][32 rows][4] bytes: inputs 4 g + i below, 16 + 4 g + i above | scales
 * which is as many bytes as the file has: 32 rows of a block are one stream, scales beside what
 * they scale. Four inputs of a row lie together because that is what one lane of an integer dot
 * product takes.
 *
 * A row of activations becomes blocks too: scale = max |x| / 127, q = x 127 / max |x| to the
 * nearest, ties to even. So y = sum over blocks, in order, of (integer sum) * (weight's scale *
 * activation's scale): integer sums are exact, and the order is that of inputs. A block that is not
 * finite has scale NaN; one below 2^-100 counts as zero.
 */
#ifndef KERNELS_CPU_QUANT_H
#define KERNELS_CPU_QUANT_H

#include "kernels/cpu/weight.h"

enum { QUANT_BLOCK = DTYPE_BLOCK };

/* Rows of activations; the arrays of a row lie behind those of the row before. */
struct quant_rows {
    int8_t *q;     /* [rows][cols] */
    float *scales; /* [rows][cols / QUANT_BLOCK] */
    int32_t *sums; /* as many: of a block's q */
};

#define QUANT_TINY 0x1p-100f

/* Rows that a device of `max_rows` has room for. */
int32_t quant_room(int32_t max_rows);

/* Make room in the device for rows of `cols`. Returns 0 or -ENOMEM. */
int quant_reserve(struct device *device, int32_t cols);
void quant_release(struct device *device);

/* Rows [first_row, first_row + num_rows) of one panel, from a file's blocks. */
void quant_load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                      const unsigned char *from);

/* Elements of one row as float: scale times q, as the file means it. */
void quant_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                    float *out);

/* Bytes of the quants of one block of a panel; scales lie behind them. */
static inline size_t quant_bytes(enum dtype dtype)
{
    return (dtype == DTYPE_Q8_0 ? 32 : 16) * PANEL_ROWS;
}

static inline size_t quant_block_bytes(enum dtype dtype)
{
    return quant_bytes(dtype) + PANEL_ROWS * sizeof(uint16_t);
}

#endif
