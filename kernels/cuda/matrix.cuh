/*
 * matrix.cuh - one element of a weight, wherever it lies; for what is not worth a kernel of its own
 *
 * Layout of blocks: weight.h.
 */
#ifndef KERNELS_CUDA_MATRIX_CUH
#define KERNELS_CUDA_MATRIX_CUH

#include "kernels/cuda/device.cuh"

/* Which of the 32 lanes holds input k of a unit of 32, and as which of its eight. */
DEVICE int unit_lane(int row, int k)
{
    return (row & 7) * 4 + (k & 15) / 4;
}

DEVICE int unit_place(int k)
{
    return (k >> 4) * 4 + (k & 3);
}

DEVICE float matrix_at(const struct matrix &w, int64_t row, int32_t col)
{
    if (w.form == MATRIX_PLAIN)
        return number_at(w.data, w.number, row * w.stride + col);

    const int64_t units = w.stride / 32, unit = row / 16 * units + col / 32;
    const int in_tile = (int)(row & 15), k = col & 31, lane = unit_lane(in_tile, k);
    const int place = unit_place(k), half = in_tile / 8;
    const int64_t scale_at = unit * (32 / w.group) * 16 + (k / w.group) * 16 + in_tile;
    const float scale = f16_to_float(w.scales[scale_at]);
    if (w.form == MATRIX_I8) {
        const signed char *lanes = (const signed char *)w.data + unit * 512 + lane * 16;
        return scale * (float)lanes[half * 8 + place];
    }
    const uint32_t *words = (const uint32_t *)w.data + unit / 2 * 128 + lane * 4;
    const uint32_t word = words[(unit & 1) * 2 + half];
    const int bits = place / 2 * 4 + (place & 1) * 16;
    const float q = (float)(word >> bits & 15);
    return w.mins != nullptr ? scale * q - f16_to_float(w.mins[scale_at]) : scale * (q - 8.0f);
}

#endif
