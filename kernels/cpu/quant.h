/*
 * quant.h - weights in blocks (quant_layout.h), and activations rounded to blocks of 32
 *
 * A block of activations: scale = max |x| / 127, q = x 127 / max |x| to the
 * nearest, ties to even. So y = sum over blocks, in order, of (integer sum) * (weight's scale *
 * activation's scale), and less minimum * (activation's scale * sum of its q) where a type has
 * minima; Q2_K, Q3_K and Q6_K have two such terms per block. Integer sums are exact, and the order
 * is that of inputs. A block that is not finite has scale NaN; one below 2^-100 counts as zero.
 */
#ifndef KERNELS_CPU_QUANT_H
#define KERNELS_CPU_QUANT_H

#include "kernels/cpu/weight.h"

/* Rows of activations; the arrays of a row lie behind those of the row before. */
struct quant_rows {
    int8_t *q;     /* [rows][quant_stride(cols)] */
    float *scales; /* [rows][cols / QUANT_BLOCK] */
    int32_t *sums; /* twice as many: of the q of each half of a block */
};

/* An odd number of cache lines, so that a column of rows spreads over the sets of the first-level
 * cache. */
static inline int64_t quant_stride(int64_t cols)
{
    return (cols + 63) / 64 * 64 | 64;
}

#define QUANT_TINY 0x1p-100f

/* Rows that a device of `max_rows` has room for. */
int32_t quant_room(int32_t max_rows);

/* Make room in the device for rows of `cols`. Returns 0 or -ENOMEM. */
int quant_reserve(struct device *device, int32_t cols);
void quant_release(struct device *device);

/* Record that rows of x, at most as many as there is room for, become the device's blocks. */
void quant_record(struct device *device, const float *x, int32_t rows, int32_t cols);

/* What belongs to the rows from `row` on. */
struct quant_rows quant_rows_from(const struct quant_rows *rows, int64_t row, int64_t cols);

/* Rows [first_row, first_row + num_rows) of one panel, from a file's blocks. */
void quant_load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                      const unsigned char *from);

/* Of element `k` of 32 in row `lane` of a block: its integer (of Q4_K without the minimum), its
 * scale and minimum. */
int32_t quant_of(enum dtype dtype, const unsigned char *block, int32_t lane, int32_t k);
void quant_scale_of(enum dtype dtype, const unsigned char *head, const unsigned char *block,
                    int32_t lane, int32_t k, float *scale, float *minimum);

/* Elements of one row as float: scale times q, as the file means it. */
void quant_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                    float *out);

#endif
