/*
 * pack.h - rows as files have them, into the layout of weight.h
 */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

/* Where the parts of a matrix are being made, on the host; NULL: it has no such part. */
struct pack_image {
    unsigned char *data, *high, *tails, *zeros;
    void *scales; /* of the matrix' scale_number */
    uint16_t *mins;
};

/* Columns of a block of scales, and its rows; and a row of such scales as it lies in memory. */
enum { PACK_BLOCK = 128 };

static inline int32_t pack_block_row(int32_t num_groups)
{
    return (num_groups + 3) / 4 * 4;
}

/* How a row of whole numbers with scales comes: see struct scaling. */
struct pack_scaling {
    int32_t num_groups;
    const int32_t *groups, *places; /* [cols]: of each input its group and its column */
};

/* One row of whole blocks; `matrix` says the form. */
void pack_row(const struct pack_image *image, const struct matrix *matrix, enum dtype dtype,
              int32_t row, const unsigned char *from);

/* One row with scales. `space` [stride] is anybody's. */
void pack_scaled_row(const struct pack_image *image, const struct matrix *matrix,
                     const struct pack_scaling *scaling, int32_t row, const unsigned char *from,
                     unsigned char *space);

#endif
