/*
 * quant_groups.h - which columns of a part of a quantized matrix share scales
 *
 * A rank has some columns of a matrix: of these groups the first and the last may be partly its
 * own, and of columns in another order any. They are counted anew, from 0.
 */
#ifndef WORKER_MODEL_QUANT_GROUPS_H
#define WORKER_MODEL_QUANT_GROUPS_H

#include "worker/model/loader.h"
#include "worker/model/quant_tensors.h"

struct quant_groups {
    struct scaling scaling;
    int32_t *of_cols; /* [cols]: scaling.groups */
    int32_t *ids;     /* [num_groups]: the tensor's */
};

/* Of columns [part->tensor_col, + cols). Returns 0 or -ENOMEM. */
int quant_groups_init(const struct loader_part *part, int32_t cols,
                      struct quant_groups *ret_groups);
void quant_groups_finish(struct quant_groups *groups); /* accepts a zeroed one */

/* Have the columns of two parts the same groups? */
bool quant_groups_are_equal(const struct loader_part *a, const struct loader_part *b, int32_t cols);

#endif
