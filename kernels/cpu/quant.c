#include "kernels/cpu/quant.h"

#include <errno.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cpu/device.h"
#include "kernels/cpu/memory.h"

enum { MIN_ROOM = 32, MAX_ROOM = 8192 };

int32_t quant_room(int32_t max_rows)
{
    return max_rows < MIN_ROOM ? MIN_ROOM : max_rows > MAX_ROOM ? MAX_ROOM : max_rows;
}

void quant_release(struct device *device)
{
    memory_free(device->quants.q);
    memory_free(device->quants.scales);
    memory_free(device->quants.sums);
    device->quants = (struct quant_rows){ 0 };
}

int quant_reserve(struct device *device, int32_t cols)
{
    const size_t rows = (size_t)device->quant_rows, blocks = (size_t)cols / QUANT_BLOCK;
    if (cols <= device->quant_cols)
        return 0;
    quant_release(device);
    device->quants =
        (struct quant_rows){ .q = memory_alloc(rows * (size_t)quant_stride(cols)),
                             .scales = memory_alloc(rows * blocks * sizeof(float)),
                             .sums = memory_alloc(rows * blocks * 2 * sizeof(int32_t)) };
    device->quant_cols = cols;
    if (device->quants.q && device->quants.scales && device->quants.sums)
        return 0;
    quant_release(device);
    device->quant_cols = 0;
    return -ENOMEM;
}

/* Where element `k` (of 32, or of 16 in nibbles) of a row lies among a block's quants. */
static size_t place_of(int32_t k, int32_t lane)
{
    return (size_t)(k / 4) * PANEL_ROWS * 4 + (size_t)lane * 4 + (size_t)(k % 4);
}

/* --- loading: a row's block of the file into its lane of the panel ------------------------ */

/* Elements that lie together in a panel are handled four at a time, a byte each. */
static uint32_t get_four(const unsigned char *from)
{
    uint32_t four;
    memcpy(&four, from, sizeof(four));
    return four;
}

static void put_four(unsigned char *block, int32_t k, int32_t lane, uint32_t four)
{
    memcpy(block + place_of(k, lane), &four, sizeof(four));
}

static uint32_t join_nibbles(uint32_t low, uint32_t high)
{
    return (low & 0x0f0f0f0fU) | (high & 0x0f0f0f0fU) << 4;
}

static void load_q8_0(unsigned char *head, unsigned char *block, int32_t lane,
                      const unsigned char *from)
{
    (void)head;
    memcpy(block + quant_bytes(DTYPE_Q8_0) + (size_t)lane * 2, from, 2);
    for (int32_t k = 0; k < QUANT_BLOCK; k += 4)
        put_four(block, k, lane, get_four(from + 2 + k) ^ 0x80808080U);
}

/* The file's bytes hold inputs j and 16 + j, as the panel's do. */
static void load_q4_0(unsigned char *head, unsigned char *block, int32_t lane,
                      const unsigned char *from)
{
    (void)head;
    memcpy(block + quant_bytes(DTYPE_Q4_0) + (size_t)lane * 2, from, 2);
    for (int32_t j = 0; j < QUANT_BLOCK / 2; j += 4)
        put_four(block, j, lane, get_four(from + 2 + j));
}

/* Sub-scale and sub-minimum `j` of 12 bytes: six bits each. */
static void unpack_q4_k(const unsigned char *s, int32_t j, unsigned char *scale,
                        unsigned char *minimum)
{
    *scale = (unsigned char)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
    *minimum = (unsigned char)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
}

static void load_q4_k(unsigned char *head, unsigned char *block, int32_t lane,
                      const unsigned char *from)
{
    memcpy(head + (size_t)lane * 2, from, 2);
    memcpy(head + PANEL_ROWS * 2 + (size_t)lane * 2, from + 2, 2);
    for (int32_t b = 0; b < QUANT_SUPER; b++, block += quant_block_bytes(DTYPE_Q4_K)) {
        unsigned char *scales = block + quant_bytes(DTYPE_Q4_K) + lane;
        const unsigned char *quants = from + 16 + b / 2 * 32;
        const int32_t shift = b % 2 * 4;
        unpack_q4_k(from + 4, b, scales, scales + PANEL_ROWS);
        for (int32_t k = 0; k < QUANT_BLOCK / 2; k += 4)
            put_four(
                block, k, lane,
                join_nibbles(get_four(quants + k) >> shift, get_four(quants + 16 + k) >> shift));
    }
}

/* Four bits of elements `e` to e + 3 of 256. */
static uint32_t unpack_q6_k_low(const unsigned char *from, int32_t e)
{
    const int32_t half = e / 128, part = e % 128 / 32, l = e % 32;
    return get_four(from + 64 * half + 32 * (part % 2) + l) >> 4 * (part / 2);
}

/* Their two high ones. */
static uint32_t unpack_q6_k_high(const unsigned char *from, int32_t e)
{
    const int32_t half = e / 128, part = e % 128 / 32, l = e % 32;
    return get_four(from + 128 + 32 * half + l) >> 2 * part & 0x03030303U;
}

static void load_q6_k(unsigned char *head, unsigned char *block, int32_t lane,
                      const unsigned char *from)
{
    memcpy(head + (size_t)lane * 2, from + 208, 2);
    for (int32_t b = 0; b < QUANT_SUPER; b++, block += quant_block_bytes(DTYPE_Q6_K)) {
        unsigned char *high = block + quant_bytes(DTYPE_Q4_K);
        unsigned char *scales = block + quant_bytes(DTYPE_Q6_K) + lane;
        scales[0] = from[192 + 2 * b];
        scales[PANEL_ROWS] = from[192 + 2 * b + 1];
        for (int32_t k = 0; k < QUANT_BLOCK / 2; k += 4)
            put_four(block, k, lane,
                     join_nibbles(unpack_q6_k_low(from, 32 * b + k),
                                  unpack_q6_k_low(from, 32 * b + 16 + k)));
        /* Bits 0, 1 and 4, 5 of a byte are of k and 16 + k, the others of the four behind. */
        for (int32_t k = 0; k < QUANT_BLOCK / 2; k += 8)
            put_four(high, k / 2, lane,
                     unpack_q6_k_high(from, 32 * b + k) |
                         unpack_q6_k_high(from, 32 * b + 16 + k) << 4 |
                         unpack_q6_k_high(from, 32 * b + k + 4) << 2 |
                         unpack_q6_k_high(from, 32 * b + 20 + k) << 6);
    }
}

static void (*const loads[])(unsigned char *head, unsigned char *block, int32_t lane,
                             const unsigned char *from) = {
    [DTYPE_Q8_0] = load_q8_0,
    [DTYPE_Q4_0] = load_q4_0,
    [DTYPE_Q4_K] = load_q4_k,
    [DTYPE_Q6_K] = load_q6_k,
};

void quant_load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                      const unsigned char *from)
{
    const enum dtype dtype = weight->dtype;
    const size_t row_bytes = dtype_row_bytes(dtype, weight->cols);
    const size_t in_file = dtype_row_bytes(dtype, dtype_block(dtype));
    const int32_t step = dtype_block(dtype) / QUANT_BLOCK;
    unsigned char *panel =
        weight->panels + (size_t)(first_row / PANEL_ROWS) * weight_panel_bytes(weight);

    for (int32_t b = 0; b < weight->cols / QUANT_BLOCK; b += step)
        for (int32_t r = 0; r < num_rows; r++) {
            const unsigned char *row = from + (size_t)r * row_bytes + (size_t)(b / step) * in_file;
            loads[dtype](panel + quant_head_at(dtype, b), panel + quant_block_at(dtype, b),
                         (first_row + r) % PANEL_ROWS, row);
        }
}

/* --- reading -------------------------------------------------------------------------------- */

int32_t quant_of(enum dtype dtype, const unsigned char *block, int32_t lane, int32_t k)
{
    if (dtype == DTYPE_Q8_0)
        return block[place_of(k, lane)] - 128;
    const unsigned char byte = block[place_of(k % 16, lane)];
    const int32_t low = k < 16 ? byte & 15 : byte >> 4;
    if (dtype != DTYPE_Q6_K)
        return dtype == DTYPE_Q4_0 ? low - 8 : low;
    const unsigned char *high = block + quant_bytes(DTYPE_Q4_K);
    const int32_t shift = k / 4 % 2 * 2 + k / 16 * 4;
    return (low | (high[place_of(k % 16 / 8 * 4 + k % 4, lane)] >> shift & 3) << 4) - 32;
}

static float read_f16(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return half_from_f16(half);
}

void quant_scale_of(enum dtype dtype, const unsigned char *head, const unsigned char *block,
                    int32_t lane, int32_t k, float *scale, float *minimum)
{
    const unsigned char *scales = block + quant_bytes(dtype);
    *minimum = 0.0f;
    if (dtype == DTYPE_Q4_K) {
        *scale = read_f16(head + lane * 2) * (float)scales[lane];
        *minimum = read_f16(head + PANEL_ROWS * 2 + lane * 2) * (float)scales[PANEL_ROWS + lane];
    } else if (dtype == DTYPE_Q6_K) {
        *scale = read_f16(head + lane * 2) * (float)(int8_t)scales[k / 16 * PANEL_ROWS + lane];
    } else {
        *scale = read_f16(scales + lane * 2);
    }
}

void quant_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                    float *out)
{
    const enum dtype dtype = weight->dtype;
    const unsigned char *panel = weight_panel(weight, row / PANEL_ROWS);
    const int32_t lane = row % PANEL_ROWS;

    for (int32_t i = 0; i < num_cols; i++) {
        const int32_t b = (first_col + i) / QUANT_BLOCK, k = (first_col + i) % QUANT_BLOCK;
        const unsigned char *block = panel + quant_block_at(dtype, b);
        float scale, minimum;
        quant_scale_of(dtype, panel + quant_head_at(dtype, b), block, lane, k, &scale, &minimum);
        out[i] = scale * (float)quant_of(dtype, block, lane, k);
        if (dtype == DTYPE_Q4_K)
            out[i] -= minimum;
    }
}
