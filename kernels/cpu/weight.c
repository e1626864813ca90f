#include "kernels/cpu/weight.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cpu/device.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/quant.h"
#include "kernels/cpu/scaled.h"

enum { LOAD_COLS = 64 }; /* 64 columns of a panel stay in the first-level cache while rows come */

static size_t panel_bytes_of(const struct weight *weight)
{
    if (weight->form != NULL)
        return weight->form->panel_bytes;
    if (weight->in_tiles)
        return 2 * WEIGHT_TILE_BYTES * (size_t)weight_tile_blocks(weight->cols);
    return dtype_is_quant(weight->dtype)
               ? quant_panel_bytes(weight->dtype, weight->cols)
               : PANEL_ROWS * dtype_row_bytes(weight->dtype, weight->cols);
}

int weight_describe(const struct device *device, const struct store_object *object,
                    struct weight *ret_weight)
{
    struct weight weight = {
        .dtype = object->dtype,
        .in_tiles = object->dtype == DTYPE_BF16 && device->isa->linear_tiles != NULL,
        .rows = object->rows,
        .cols = object->cols,
        .num_panels = (int32_t)(((int64_t)object->rows + PANEL_ROWS - 1) / PANEL_ROWS),
    };
    size_t bytes;
    if (object->rows < 1 || object->cols < 1 || object->cols % dtype_block(object->dtype) != 0)
        return -EINVAL;
    const int r = dtype_is_scaled(object->dtype) ? scaled_describe(object, &weight.form) : 0;
    if (r < 0)
        return r;
    weight.panel_bytes = panel_bytes_of(&weight);
    if (__builtin_mul_overflow((size_t)weight.num_panels, weight.panel_bytes, &bytes)) {
        weight_finish(&weight);
        return -EOVERFLOW;
    }
    *ret_weight = weight;
    return 0;
}

void weight_finish(struct weight *weight)
{
    scaled_free(weight->form);
    weight->form = NULL;
}

int weight_alloc(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                 struct weight **ret_weight, struct error *err)
{
    struct weight *weight = calloc(1, sizeof(*weight));
    if (!weight)
        return error_set(err, -ENOMEM, "no memory for a weight");
    const struct store_object object = { .dtype = dtype, .rows = rows, .cols = cols };
    const int r = weight_describe(device, &object, weight);
    if (r < 0) {
        weight_free(weight);
        return error_set(err, r, "a weight of %d x %d %s cannot be counted or has no whole blocks",
                         rows, cols, dtype_name(dtype));
    }
    const size_t bytes = weight_bytes(weight);
    weight->panels = memory_alloc(bytes);
    if (!weight->panels || (dtype_is_quant(dtype) && quant_reserve(device, cols) < 0)) {
        weight_free(weight);
        return error_set(err, -ENOMEM, "no memory for a weight of %d x %d %s (%zu bytes)", rows,
                         cols, dtype_name(dtype), bytes);
    }
    *ret_weight = weight;
    return 0;
}

void weight_free(struct weight *weight)
{
    if (!weight)
        return;
    memory_free(weight->panels);
    weight_finish(weight);
    free(weight);
}

size_t weight_bytes(const struct weight *weight)
{
    return (size_t)weight->num_panels * weight_panel_bytes(weight);
}

static void scatter_2(unsigned char *to, const unsigned char *from, int32_t num_cols)
{
    for (int32_t k = 0; k < num_cols; k++)
        memcpy(to + (size_t)k * PANEL_ROWS * 2, from + (size_t)k * 2, 2);
}

static void scatter_4(unsigned char *to, const unsigned char *from, int32_t num_cols)
{
    for (int32_t k = 0; k < num_cols; k++)
        memcpy(to + (size_t)k * PANEL_ROWS * 4, from + (size_t)k * 4, 4);
}

/* Rows [first_row, first_row + num_rows) of one panel. */
static void load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                       const unsigned char *from)
{
    const size_t size = dtype_bytes(weight->dtype);
    const size_t row_bytes = (size_t)weight->cols * size;
    unsigned char *panel =
        weight->panels + (size_t)(first_row / PANEL_ROWS) * weight_panel_bytes(weight);

    for (int32_t k = 0; k < weight->cols; k += LOAD_COLS) {
        const int32_t num_cols = weight->cols - k < LOAD_COLS ? weight->cols - k : LOAD_COLS;
        for (int32_t r = 0; r < num_rows; r++) {
            const int32_t lane = weight_lane(weight->dtype, (first_row + r) % PANEL_ROWS);
            unsigned char *to = panel + ((size_t)k * PANEL_ROWS + (size_t)lane) * size;
            const unsigned char *row = from + (size_t)r * row_bytes + (size_t)k * size;
            (size == 2 ? scatter_2 : scatter_4)(to, row, num_cols);
        }
    }
}

/* Pairs of inputs stay together. */
static void load_tiles(struct weight *weight, int32_t first_row, int32_t num_rows,
                       const unsigned char *from)
{
    const size_t row_bytes = (size_t)weight->cols * 2;
    unsigned char *panel =
        weight->panels + (size_t)(first_row / PANEL_ROWS) * weight_panel_bytes(weight);

    for (int32_t k = 0; k < weight->cols; k += WEIGHT_TILE_COLS)
        for (int32_t r = 0; r < num_rows; r++) {
            const unsigned char *row = from + (size_t)r * row_bytes + (size_t)k * 2;
            unsigned char *to = panel + weight_tile_at((first_row + r) % PANEL_ROWS, k);
            int32_t left =
                weight->cols - k < WEIGHT_TILE_COLS ? weight->cols - k : WEIGHT_TILE_COLS;
            for (; left > 1; left -= 2, row += 4, to += WEIGHT_TILE_ROWS * 4)
                memcpy(to, row, 4);
            if (left > 0)
                memcpy(to, row, 2);
        }
}

static void read_tiles(const struct weight *weight, int32_t row, int32_t first_col,
                       int32_t num_cols, float *out)
{
    const unsigned char *panel = weight_panel(weight, row / PANEL_ROWS);
    for (int32_t k = 0; k < num_cols; k++) {
        uint16_t half;
        memcpy(&half, panel + weight_tile_at(row % PANEL_ROWS, first_col + k), sizeof(half));
        out[k] = half_from_bf16(half);
    }
}

void weight_load(struct weight *weight, int32_t first_row, int32_t num_rows, const void *from)
{
    assert(first_row >= 0 && num_rows >= 0 && num_rows <= weight->rows - first_row);

    const size_t row_bytes = weight->form != NULL ? scaled_row_bytes(weight)
                                                  : dtype_row_bytes(weight->dtype, weight->cols);
    void (*const load)(struct weight *, int32_t, int32_t, const unsigned char *) =
        weight->form != NULL            ? scaled_load_panel
        : dtype_is_quant(weight->dtype) ? quant_load_panel
        : weight->in_tiles              ? load_tiles
                                        : load_panel;
    const unsigned char *rows = from;
    const int32_t end = first_row + num_rows;

    for (int32_t row = first_row; row < end;) {
        const int32_t room = PANEL_ROWS - row % PANEL_ROWS;
        const int32_t n = end - row < room ? end - row : room;
        load(weight, row, n, rows);
        rows += (size_t)n * row_bytes;
        row += n;
    }
}

void weight_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                     float *out)
{
    const int32_t lane = weight_lane(weight->dtype, row % PANEL_ROWS);
    const size_t first = (size_t)first_col * PANEL_ROWS + (size_t)lane;
    const void *panel = weight_panel(weight, row / PANEL_ROWS);
    const uint16_t *halves = (const uint16_t *)panel + first;
    const float *floats = (const float *)panel + first;

    if (weight->in_tiles) {
        read_tiles(weight, row, first_col, num_cols, out);
        return;
    }
    switch (weight->dtype) {
    case DTYPE_F32:
        for (int32_t k = 0; k < num_cols; k++)
            out[k] = floats[(size_t)k * PANEL_ROWS];
        break;
    case DTYPE_F16:
        for (int32_t k = 0; k < num_cols; k++)
            out[k] = half_from_f16(halves[(size_t)k * PANEL_ROWS]);
        break;
    case DTYPE_BF16:
        for (int32_t k = 0; k < num_cols; k++)
            out[k] = half_from_bf16(halves[(size_t)k * PANEL_ROWS]);
        break;
    case DTYPE_Q8_0:
    case DTYPE_Q4_0:
    case DTYPE_Q4_K:
    case DTYPE_Q6_K:
    case DTYPE_Q4_1:
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_Q5_K:
        quant_read_row(weight, row, first_col, num_cols, out);
        break;
    case DTYPE_F8_E4M3:
    case DTYPE_I8:
    case DTYPE_I4:
        scaled_read_row(weight, row, first_col, num_cols, out);
        break;
    }
}
