/*
 * tile.h - a small matrix product: some rows of x times some panels of 32 columns
 *
 *     out[r][32 p + i] (+)= sum over k of x[r][k] w[p][k][i] (+ bias[32 p + i])
 *
 * The one inner loop of linear and attention. Each lane sums its own column over k in order, one
 * FMA per term, whatever the number of rows or panels beside it; a sum continued with
 * `accumulate` has the bits of one made in one go.
 */
#ifndef KERNELS_CPU_SIMD_TILE_H
#define KERNELS_CPU_SIMD_TILE_H

#include "kernels/cpu/simd/vec.h"

/* Most rows that share one pass over a panel, by the number of registers. */
enum { TILE_ROWS = VEC_LANES == 16 ? 12 : 3 };

/* Strides are in elements. */
struct tile_job {
    enum dtype dtype; /* of w; x, out and bias are float */
    bool accumulate;
    int32_t num_k;
    const float *x;
    int64_t x_stride; /* between rows */
    const void *w;
    int64_t k_stride, panel_stride;
    size_t prefetch_bytes; /* how far ahead in w; 0 when w is near */
    float *out;
    int64_t out_stride;
    const float *bias; /* of column 0, or NULL */
};

/* All rows and panels of a job: row tile by row tile, panels within. */
void SIMD(tile_run)(const struct tile_job *job, int32_t num_rows, int32_t num_panels);

#endif
