/*
 * weight.h - a matrix [rows][cols] in the device's memory
 *
 *     plain (f32, f16, bf16) : row-major, a row rounded up to 32 numbers, zeros behind; as the file
 *                              has it, so that cuBLASLt reads it too
 *     I8 (Q8_0, Q6_K)        : [tiles of 16 rows][units of 32 inputs][32 lanes][16 bytes]
 *                              lane 4 g + t: inputs 4t..4t+3 and 16+4t..16+4t+3 of row g, then of
 *                              row g + 8: what it wants of a unit for two mma (mma.cuh)
 *     U4 (Q4_0, Q4_K)        : [tiles][pairs of units][32 lanes][4 words]: of each unit rows g and
 *                              g + 8; a word's input 2 i at bit 4 i, 2 i + 1 at bit 16 + 4 i
 *     scales, minima         : f16 [tiles][units][groups of a unit][16 rows]
 *
 * Weights with scales (FP8, I8, I4) become bf16 when they are loaded.
 *
 * Rows are rounded up to 32, zeros. Blocks are packed on the host, in an image that is copied when
 * its last row is there: by weight_flush(), at the latest before the next list runs. Plain rows go
 * through pinned buffers as they come.
 */
#ifndef KERNELS_CUDA_WEIGHT_H
#define KERNELS_CUDA_WEIGHT_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

/* How the file's numbers of a type with scales are read. */
struct weight_scaling {
    bool has_zeros;
    int32_t num_groups;
    int32_t *groups; /* [cols] */
};

struct weight {
    struct device *device;
    enum dtype dtype;
    struct matrix matrix;
    size_t data_bytes, scale_bytes, min_bytes; /* of the device */
    unsigned char *image;                      /* of blocks that are being packed: all three */
    bool is_owner;                             /* of its memory: no store's */
    struct weight_scaling scaling;             /* of a type with scales */
    struct weight *next_dirty;
    const struct weight *next;   /* whose outputs lie behind these, or NULL */
    _Atomic int32_t rows_packed; /* in the image */
};

static inline int32_t weight_all_rows(const struct weight *weight)
{
    int32_t rows = 0;
    for (; weight != NULL; weight = weight->next)
        rows += weight->matrix.rows;
    return rows;
}

/* The form of a matrix without memory. 0, -EINVAL, -EOVERFLOW, -ENOTSUP, -ENOMEM. */
int weight_describe(const struct store_object *object, struct weight *ret_weight,
                    struct error *err);
void weight_forget(struct weight *weight);        /* what weight_describe() and loading took */
size_t weight_total(const struct weight *weight); /* bytes, parts rounded up to 256 */
void weight_place(struct weight *weight, unsigned char *at);

int weight_alloc(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                 struct weight **ret_weight, struct error *err);
void weight_load(struct weight *weight, int32_t first_row, int32_t num_rows, const void *from);
void weight_free(struct weight *weight);
size_t weight_bytes(const struct weight *weight);
/* Copy what was packed. 0 or -EIO. */
int weight_flush(struct weight *weight);

#endif
