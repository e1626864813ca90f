/*
 * matrix.cuh - one element of a weight, wherever it lies; for what is not worth a kernel of its own
 *
 * Layout of all forms: weight.h.
 */
#ifndef KERNELS_CUDA_MATRIX_CUH
#define KERNELS_CUDA_MATRIX_CUH

#include "kernels/cuda/e4m3.cuh"

/* Where an element lies in its tile: which lane holds it, and as which pair of its row's eight. */
struct element {
    int64_t unit; /* of the matrix */
    int lane, row, half, pair, upper; /* half: row >= 8 */
    int input;                        /* of the unit */
};

DEVICE struct element element_of(const struct matrix &w, int64_t row, int32_t col)
{
    struct element e;
    e.unit = row / 16 * (w.stride / 32) + col / 32;
    e.row = (int)(row & 15);
    e.half = e.row / 8;
    e.input = col & 31;
    e.lane = (e.row & 7) * 4 + (e.input & 15) / 4;
    e.pair = (e.input >> 4) * 2 + (e.input & 3) / 2;
    e.upper = e.input & 1;
    return e;
}

/* `bits` of the pair at `index` of a lane's words: [loads][32 lanes][words] of `units` units. */
DEVICE int bits_at(const void *plane, const struct element &e, int bits, int units, int words)
{
    const int per_unit = bits * 16, j = (int)(e.unit % units);
    const int at = j * per_unit / 2 + (e.half * 4 + e.pair) * bits; /* of 16 lower bits a word */
    const uint32_t *lane = (const uint32_t *)plane + (e.unit / units * 32 + e.lane) * words;
    return (int)(lane[at / 16] >> (at % 16 + 16 * e.upper) & ((1u << bits) - 1));
}

/* Two planes: low ones four or two to a load, and what 256 inputs have in common. */
DEVICE float plane_at(const struct matrix &w, const struct element &e, int low, int high)
{
    const int units = 8 / low, half = e.input / 16;
    int q = bits_at(w.data, e, low, units, 4);
    if (high > 0)
        q |= bits_at(w.high, e, high, units, units * high / 2) << low;
    const int64_t at = e.unit * 16 + e.row;
    if (w.tails == nullptr) {
        const float scale = f16_to_float(((const uint16_t *)w.scales)[at]);
        return w.mins != nullptr ? scale * (float)q - f16_to_float(w.mins[at])
                                 : scale * (float)(q - 16);
    }
    const uint32_t head = ((const uint32_t *)w.scales)[e.unit / 8 * 16 + e.row];
    const float d = f16_to_float((uint16_t)head), d_min = f16_to_float((uint16_t)(head >> 16));
    const unsigned char *tail = w.tails + 2 * at;
    if (low + high == 5)
        return d * (float)tail[0] * (float)q - d_min * (float)tail[1];
    if (high == 0)
        return d * (float)(tail[half] & 15) * (float)q - d_min * (float)(tail[half] >> 4);
    return d * (float)(signed char)tail[half] * (float)(q - (low == 2 ? 4 : 32));
}

/* Bytes and nibbles: a scale for each group. */
DEVICE float grouped_at(const struct matrix &w, const struct element &e, int64_t row)
{
    const int u = (int)(e.unit - row / 16 * (w.stride / 32));
    const int group = w.unit_groups != nullptr ? w.unit_groups[u] : u >> w.group_shift;
    const int64_t at = (row / 16 * w.num_groups + group) * 16 + e.row;
    const float scale = number_at(w.scales, w.scale_number, at);
    const int place = e.half * 8 + e.pair * 2 + e.upper;
    const unsigned char *lane = (const unsigned char *)w.data + e.unit * 512 + e.lane * 16;
    if (w.form == MATRIX_E4M3_ROWS)
        return scale *
               e4m3_to_float(((const unsigned char *)w.data)[row * w.stride + 32 * u + e.input]);
    if (w.form == MATRIX_E4M3) { /* inputs 2, 0, 3, 1 */
        const int in_word = (place & 1) * 2 + ((place & 3) < 2);
        return scale * e4m3_to_float(lane[(place & ~3) + in_word]);
    }
    if (w.form == MATRIX_I8)
        return scale * (float)((signed char)lane[place] -
                               (w.zeros != nullptr ? (int)(signed char)w.zeros[at] : 0));
    const int q = bits_at(w.data, e, 4, 2, 4);
    if (w.mins != nullptr)
        return scale * (float)q - f16_to_float(w.mins[at]);
    return scale * (float)(q - (w.zeros != nullptr ? (int)w.zeros[at] : 8));
}

DEVICE float matrix_at(const struct matrix &w, int64_t row, int32_t col)
{
    if (w.form == MATRIX_PLAIN)
        return number_at(w.data, w.number, row * w.stride + col);
    const struct element e = element_of(w, row, w.order != nullptr ? w.order[w.stride + col] : col);
    switch (w.form) {
    case MATRIX_U5:
        return plane_at(w, e, 4, 1);
    case MATRIX_U6:
        return plane_at(w, e, 4, 2);
    case MATRIX_U3:
        return plane_at(w, e, 2, 1);
    case MATRIX_U2:
        return plane_at(w, e, 2, 0);
    default:
        return grouped_at(w, e, row);
    }
}

#endif
