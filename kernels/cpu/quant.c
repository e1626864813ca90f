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
    device->quants = (struct quant_rows){ .q = memory_alloc(rows * (size_t)cols),
                                          .scales = memory_alloc(rows * blocks * sizeof(float)),
                                          .sums = memory_alloc(rows * blocks * sizeof(int32_t)) };
    device->quant_cols = cols;
    if (device->quants.q && device->quants.scales && device->quants.sums)
        return 0;
    quant_release(device);
    device->quant_cols = 0;
    return -ENOMEM;
}

/* Where element `k` (of 32) of a row lies among a block's quants. */
static size_t place_of(int32_t k, int32_t lane)
{
    return (size_t)(k / 4) * PANEL_ROWS * 4 + (size_t)lane * 4 + (size_t)(k % 4);
}

static void load_q8_0(unsigned char *block, int32_t lane, const unsigned char *from)
{
    memcpy(block + quant_bytes(DTYPE_Q8_0) + (size_t)lane * 2, from, 2);
    for (int32_t k = 0; k < QUANT_BLOCK; k++)
        block[place_of(k, lane)] = (unsigned char)(from[2 + k] ^ 0x80);
}

/* The file's bytes hold inputs j and 16 + j, as the panel's do. */
static void load_q4_0(unsigned char *block, int32_t lane, const unsigned char *from)
{
    memcpy(block + quant_bytes(DTYPE_Q4_0) + (size_t)lane * 2, from, 2);
    for (int32_t j = 0; j < QUANT_BLOCK / 2; j++)
        block[place_of(j, lane)] = from[2 + j];
}

void quant_load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                      const unsigned char *from)
{
    const size_t row_bytes = dtype_row_bytes(weight->dtype, weight->cols);
    const size_t in_file = dtype_row_bytes(weight->dtype, QUANT_BLOCK);
    unsigned char *block =
        weight->panels + (size_t)(first_row / PANEL_ROWS) * weight_panel_bytes(weight);

    for (int32_t b = 0; b < weight->cols / QUANT_BLOCK; b++) {
        for (int32_t r = 0; r < num_rows; r++) {
            const unsigned char *row = from + (size_t)r * row_bytes + (size_t)b * in_file;
            (weight->dtype == DTYPE_Q8_0 ? load_q8_0
                                         : load_q4_0)(block, (first_row + r) % PANEL_ROWS, row);
        }
        block += quant_block_bytes(weight->dtype);
    }
}

/* q of element `k` of a block. */
static int32_t quant_of(enum dtype dtype, const unsigned char *block, int32_t k, int32_t lane)
{
    if (dtype == DTYPE_Q8_0)
        return block[place_of(k, lane)] - 128;
    const unsigned char byte = block[place_of(k % 16, lane)];
    return (k < 16 ? byte & 15 : byte >> 4) - 8;
}

void quant_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                    float *out)
{
    const enum dtype dtype = weight->dtype;
    const unsigned char *panel = weight_panel(weight, row / PANEL_ROWS);
    const int32_t lane = row % PANEL_ROWS;

    for (int32_t i = 0; i < num_cols; i++) {
        const int32_t col = first_col + i;
        const unsigned char *block = panel + (size_t)(col / QUANT_BLOCK) * quant_block_bytes(dtype);
        uint16_t scale;
        memcpy(&scale, block + quant_bytes(dtype) + (size_t)lane * 2, sizeof(scale));
        out[i] = half_from_f16(scale) * (float)quant_of(dtype, block, col % QUANT_BLOCK, lane);
    }
}
