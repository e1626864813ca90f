/*
 * tensor_place.h - where in the checkpoint the values of a family's row lie
 *
 * A row's values may be a tensor, some rows or columns of one, the transpose of these, or one of
 * the blocks that a tensor holds behind each other: experts, heads.
 */
#ifndef WORKER_MODEL_TENSOR_PLACE_H
#define WORKER_MODEL_TENSOR_PLACE_H

#include "worker/families/family.h"
#include "worker/model/loader.h"

static inline bool row_is_matrix(const struct weight_row *row)
{
    return row->cols != DIM_NONE;
}

/* "model.layers.2.mlp.experts.7.up_proj.weight": behind `prefix`, of a layer and a block. */
void tensor_place_name(const struct weight_row *row, const char *prefix, int32_t layer,
                       int32_t block, char *name, size_t size);

/* The number of blocks of the row in an arch, at least 1. */
int32_t tensor_place_blocks(const struct weight_row *row, const struct arch *arch);

/* Rows of the matrix or vector, all blocks together. */
int32_t tensor_place_total(const struct weight_row *row, const struct arch *arch);

/* "BF16 [64][32]" */
void tensor_place_describe(const struct safetensors_tensor *tensor, char *text, size_t size);

/* Is the tensor what the row says, of the whole model? Returns 0, -EINVAL, -ENOTSUP (a dtype). */
int tensor_place_check(const struct weight_row *row, const struct arch *whole,
                       const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor,
                       struct error *err);

/* What the rank `own` loads of block `block` (of its own). */
struct loader_part tensor_place_part(const struct weight_row *row, const struct arch *whole,
                                     const struct arch *own, int32_t block,
                                     const struct checkpoint_tensor *tensor);

/*
 * The first `num` values of a table, each checked to be in [0, below).
 *
 * Returns 0, -EINVAL, -EIO or the errno of reading.
 */
int tensor_place_read_table(const struct checkpoint_tensor *tensor, int32_t num, int32_t below,
                            int32_t *to, struct error *err);

#endif
