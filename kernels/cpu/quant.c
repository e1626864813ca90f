#include "kernels/cpu/quant.h"

#include <errno.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cpu/device.h"
#include "kernels/cpu/memory.h"
#include "kernels/unpack.h"

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

static void run_quantize(struct device *device, const struct op *op, int32_t thread,
                         int32_t num_threads)
{
    const struct quantize_args *args = &op->args.quantize;
    device->isa->quantize(args, (int32_t)share_of(args->rows, thread, num_threads),
                          (int32_t)share_of(args->rows, thread + 1, num_threads));
}

void quant_record(struct device *device, const float *x, int32_t rows, int32_t cols)
{
    const double cost_ns = rows > 1 ? 0.1 * rows * cols : 0.0;
    device_record(device, run_quantize, cost_ns)->args.quantize =
        (struct quantize_args){ device->quants, x, rows, cols };
}

struct quant_rows quant_rows_from(const struct quant_rows *rows, int64_t row, int64_t cols)
{
    const int64_t blocks = row * (cols / QUANT_BLOCK);
    return (struct quant_rows){ rows->q + row * quant_stride(cols), rows->scales + blocks,
                                rows->sums + 2 * blocks };
}

/* --- loading: a row's block of the file into its lane of the panel ------------------------ */

static uint32_t join_nibbles(const uint8_t *q)
{
    return (unpack_four(q) & 0x0f0f0f0fU) | (unpack_four(q + 16) & 0x0f0f0f0fU) << 4;
}

static uint32_t join_pairs(const uint8_t *q)
{
    uint32_t four = 0;
    for (int32_t g = 0; g < 4; g++)
        four |= (unpack_four(q + 4 * g) & 0x03030303U) << 2 * g;
    return four;
}

/* 32 quants, from 0 on. */
static void place_low(int low, unsigned char *plane, int32_t lane, const uint8_t *q)
{
    unsigned char *to = plane + (size_t)lane * 4;
    for (int32_t g = 0; g < low; g++, to += PANEL_ROWS * 4)
        unpack_put_four(to, low == 8   ? unpack_four(q + 4 * g)
                            : low == 4 ? join_nibbles(q + 4 * g)
                                       : join_pairs(q + 16 * g));
}

static void place_one_above(int low, unsigned char *plane, int32_t lane, const uint8_t *q)
{
    uint32_t four = 0;
    for (int32_t g = 0; g < 8; g++)
        four |= (unpack_four(q + 4 * g) >> low & 0x01010101U) << g;
    unpack_put_four(plane + (size_t)lane * 4, four);
}

static void place_two_above(int low, unsigned char *plane, int32_t lane, const uint8_t *q)
{
    for (int32_t p = 0; p < 2; p++) {
        uint32_t four = 0;
        for (int32_t g = 0; g < 4; g++) /* half g / 2, group 2 p + g % 2 */
            four |= (unpack_four(q + 16 * (g / 2) + 4 * (2 * p + g % 2)) >> low & 0x03030303U)
                    << 2 * g;
        unpack_put_four(plane + (size_t)(p * PANEL_ROWS + lane) * 4, four);
    }
}

static void place(enum dtype dtype, unsigned char *block, int32_t lane, const uint8_t *q)
{
    const struct quant_form *form = &quant_forms[dtype];
    place_low(form->low, block, lane, q);
    if (form->high == 1)
        place_one_above(form->low, block + quant_low_bytes(dtype), lane, q);
    if (form->high == 2)
        place_two_above(form->low, block + quant_low_bytes(dtype), lane, q);
}

/* --- the file's blocks -------------------------------------------------------------------- */

/* Two bytes of a 16-bit float lie together, bytes for themselves [32 rows] behind each other. */
static void put_tail(const struct quant_form *form, unsigned char *to, int32_t lane,
                     const unsigned char *tail)
{
    const size_t size = form->scale == QUANT_SCALE_F16 ? 2 : 1;
    for (size_t i = 0; i < (size_t)form->tail / size; i++)
        memcpy(to + (i * PANEL_ROWS + (size_t)lane) * size, tail + i * size, size);
}

static void load_block(enum dtype dtype, unsigned char *panel, int32_t b, int32_t lane,
                       const unsigned char *from)
{
    const struct quant_form *form = &quant_forms[dtype];
    struct unpacked block;
    unsigned char *head = panel + quant_head_at(dtype, b);
    unpack_block(dtype, from, &block);
    for (size_t i = 0; i < (size_t)form->head / 2; i++)
        memcpy(head + (i * PANEL_ROWS + (size_t)lane) * 2, block.head + 2 * i, 2);
    for (int32_t i = 0; i < dtype_block(dtype) / QUANT_BLOCK; i++) {
        unsigned char *to = panel + quant_block_at(dtype, b + i);
        place(dtype, to, lane, block.q + i * QUANT_BLOCK);
        put_tail(form, to + quant_bytes(dtype), lane, block.tails[i]);
    }
}

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
        for (int32_t r = 0; r < num_rows; r++)
            load_block(dtype, panel, b, (first_row + r) % PANEL_ROWS,
                       from + (size_t)r * row_bytes + (size_t)(b / step) * in_file);
}

/* --- reading -------------------------------------------------------------------------------- */

static int32_t read_low(int low, const unsigned char *plane, int32_t k)
{
    const int32_t half = k / 16, g = k % 16 / 4, i = k % 4;
    if (low == 8)
        return plane[k / 4 * PANEL_ROWS * 4 + i];
    if (low == 4)
        return plane[g * PANEL_ROWS * 4 + i] >> 4 * half & 15;
    return plane[half * PANEL_ROWS * 4 + i] >> 2 * g & 3;
}

int32_t quant_of(enum dtype dtype, const unsigned char *block, int32_t lane, int32_t k)
{
    const struct quant_form *form = &quant_forms[dtype];
    const unsigned char *high = block + quant_low_bytes(dtype) + lane * 4;
    const int32_t half = k / 16, g = k % 16 / 4, i = k % 4;
    int32_t q = read_low(form->low, block + lane * 4, k);
    if (form->high == 1)
        q |= (high[i] >> (4 * half + g) & 1) << form->low;
    if (form->high == 2)
        q |= (high[g / 2 * PANEL_ROWS * 4 + i] >> (4 * half + g % 2 * 2) & 3) << form->low;
    return q - form->offset;
}

static float read_f16(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return half_from_f16(half);
}

static float read_scale(const struct quant_form *form, float head, const unsigned char *tail,
                        int32_t lane, int32_t half)
{
    switch (form->scale) {
    case QUANT_SCALE_F16:
        return read_f16(tail + lane * 2);
    case QUANT_SCALE_BYTE:
        return head * (float)tail[lane];
    case QUANT_SCALE_SIGNED:
        return head * (float)(int8_t)tail[half * PANEL_ROWS + lane];
    case QUANT_SCALE_NIBBLE:
        return head * (float)(tail[half * PANEL_ROWS + lane] & 15);
    }
    return 0.0f;
}

static float read_minimum(const struct quant_form *form, float head, const unsigned char *tail,
                          int32_t lane, int32_t half)
{
    switch (form->minimum) {
    case QUANT_MINIMUM_NONE:
        return 0.0f;
    case QUANT_MINIMUM_F16:
        return -read_f16(tail + (PANEL_ROWS + lane) * 2);
    case QUANT_MINIMUM_BYTE:
        return head * (float)tail[PANEL_ROWS + lane];
    case QUANT_MINIMUM_NIBBLE:
        return head * (float)(tail[half * PANEL_ROWS + lane] >> 4);
    }
    return 0.0f;
}

void quant_scale_of(enum dtype dtype, const unsigned char *head, const unsigned char *block,
                    int32_t lane, int32_t k, float *scale, float *minimum)
{
    const struct quant_form *form = &quant_forms[dtype];
    const unsigned char *tail = block + quant_bytes(dtype);
    const float first = form->head >= 2 ? read_f16(head + lane * 2) : 0.0f;
    const float second = form->head >= 4 ? read_f16(head + (PANEL_ROWS + lane) * 2) : 0.0f;
    *scale = read_scale(form, first, tail, lane, k / 16);
    *minimum = read_minimum(form, second, tail, lane, k / 16);
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
        if (quant_forms[dtype].minimum != QUANT_MINIMUM_NONE)
            out[i] -= minimum;
    }
}
