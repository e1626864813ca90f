/*
 * scaled.h - weights with scales: F8_E4M3, I8, I4; their layout in memory
 *
 * Columns are stored by group, those of one group in the order of inputs (`order`, where that is
 * another). A panel of 32 rows holds for each group, one behind the other,
 *     [32 rows] scale | with zeros [32] zero, bytes | quants:
 *     F8, I8 : [pairs of columns][32 rows][2] bytes
 *     I4     : [eights of columns][32 rows] 32 bits: column i in bits 4 i and up, q = 0 to 15
 * A group's last pair or eight may be partly empty. So a panel is one stream, as long as what the
 * checkpoint has, and no cut of columns, however it lies to groups, is a special case.
 *
 * Codes of E4M3 are widened by way of f16: bits moved by one place are the value times 2^-8, and
 * subnormals stay exact. NaN has no such image: a code of NaN makes the scale of its row and group
 * NaN when it is loaded, which is what the product is then.
 *
 * Scales of 2^120 and more count as infinite for E4M3.
 */
#ifndef KERNELS_CPU_SCALED_H
#define KERNELS_CPU_SCALED_H

#include "kernels/cpu/weight.h"

struct scaled_group {
    int32_t first; /* of the stored columns */
    size_t at;     /* in the panel */
};

struct scaled_form {
    enum dtype scales;
    bool has_zeros;
    int32_t num_groups;
    size_t panel_bytes;
    int32_t *order;               /* [cols]: the input of each stored column; NULL: the same */
    struct scaled_group groups[]; /* [num_groups + 1] */
};

/* What `object` is in memory; free() it. Returns 0, -EINVAL, -EOVERFLOW, -ENOMEM. */
int scaled_describe(const struct store_object *object, struct scaled_form **ret_form);
void scaled_free(struct scaled_form *form); /* accepts NULL */

/* A number that differs where forms do. */
uint32_t scaled_hash(const struct scaled_form *form, int32_t cols);

/* Rows [first_row, first_row + num_rows) of one panel, as backend.h has them. */
void scaled_load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                       const unsigned char *from);
size_t scaled_row_bytes(const struct weight *weight);

/* Of a row of a group: its scale and zero; of a stored column: its q. */
float scaled_scale_of(const struct scaled_form *form, const unsigned char *group, int32_t lane);
int32_t scaled_zero_of(const struct weight *weight, const unsigned char *group, int32_t lane);
float scaled_q_of(const struct weight *weight, const unsigned char *quants, int32_t lane,
                  int32_t column);

/* Elements [first_col, first_col + num_cols) of one row as float. */
void scaled_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                     float *out);

/* Columns that share a unit of memory. */
static inline int32_t scaled_unit(enum dtype dtype)
{
    return dtype == DTYPE_I4 ? 8 : 2;
}

static inline size_t scaled_unit_bytes(enum dtype dtype)
{
    return (size_t)(dtype == DTYPE_I4 ? 4 : 2) * PANEL_ROWS;
}

static inline size_t scaled_head_bytes(const struct scaled_form *form)
{
    return PANEL_ROWS * (dtype_bytes(form->scales) + (form->has_zeros ? 1u : 0u));
}

#endif
