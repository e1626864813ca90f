/*
 * pack.h - rows of blocks as files have them, into the layout of weight.h
 */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

/* Where the three parts of a matrix are being made, on the host. */
struct pack_image {
    unsigned char *data;
    uint16_t *scales, *mins;
};

/* One row of whole blocks; `matrix` says the form. */
void pack_row(const struct pack_image *image, const struct matrix *matrix, enum dtype dtype,
              int32_t row, const unsigned char *from);

/* One row as bf16, for types that have no form of their own. */
void pack_widen(enum dtype dtype, const unsigned char *from, int32_t cols, uint16_t *to);

#endif
