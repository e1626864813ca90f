/*
 * weight.h - a matrix [rows][cols] as panels of 32 rows, in its own type
 *
 *     panels : [num_panels][cols][32]    num_panels = rows rounded up to 32, / 32
 *
 * One column of a panel is what one step over the inputs multiplies: 32 outputs at once. Rows
 * beyond the matrix are zero. Types of blocks are laid out as quant.h says, those with scales as
 * scaled.h does. bf16 columns hold rows
 * i and 16 + i side by side, so that a shift and a mask widen 64 bytes to rows 0-15 and 16-31
 * without a shuffle.
 *
 * Where the matrix unit multiplies bf16 (`in_tiles`), a panel is what its tiles are:
 *
 *     tiles : [num_panels][cols rounded up to 32, / 32][2 halves][16 pairs of inputs][16 rows][2]
 *
 * Inputs beyond the matrix are zero.
 */
#ifndef KERNELS_CPU_WEIGHT_H
#define KERNELS_CPU_WEIGHT_H

#include "kernels/backend.h"
#include "kernels/cpu/quant_layout.h"

struct scaled_form;

struct weight {
    enum dtype dtype;
    bool in_tiles;
    int32_t rows, cols, num_panels;
    unsigned char *panels;
    struct scaled_form *form; /* of a type with scales (scaled.h), else NULL */
    size_t panel_bytes;
    const struct weight *next; /* whose outputs lie behind these, or NULL */
};

/* The form of a matrix without memory; weight_finish() it. Returns 0; -EINVAL when empty, of no
 * whole blocks or of groups that are none, -EOVERFLOW, -ENOMEM. */
int weight_describe(const struct device *device, const struct store_object *object,
                    struct weight *ret_weight);
void weight_finish(struct weight *weight);

int weight_alloc(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                 struct weight **ret_weight, struct error *err);
void weight_load(struct weight *weight, int32_t first_row, int32_t num_rows, const void *from);
void weight_free(struct weight *weight);
size_t weight_bytes(const struct weight *weight);

/* Elements [first_col, first_col + num_cols) of one row as float. */
void weight_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                     float *out);

/* Place of a row within a column of its panel. */
static inline int32_t weight_lane(enum dtype dtype, int32_t row_in_panel)
{
    if (dtype != DTYPE_BF16)
        return row_in_panel;
    return row_in_panel < 16 ? 2 * row_in_panel : 2 * (row_in_panel - 16) + 1;
}

enum {
    WEIGHT_TILE_ROWS = 16,
    WEIGHT_TILE_COLS = 32,
    WEIGHT_TILE_BYTES = WEIGHT_TILE_ROWS * WEIGHT_TILE_COLS * 2
};

/* How many of a weight's tiles lie behind each other along its inputs. */
static inline int32_t weight_tile_blocks(int32_t cols)
{
    return cols / WEIGHT_TILE_COLS + (cols % WEIGHT_TILE_COLS > 0);
}

/* Where an element lies in its panel of tiles, in bytes. */
static inline size_t weight_tile_at(int32_t row_in_panel, int32_t col)
{
    const int32_t tile = col / WEIGHT_TILE_COLS * 2 + row_in_panel / WEIGHT_TILE_ROWS;
    const int32_t pair = col % WEIGHT_TILE_COLS / 2 * WEIGHT_TILE_ROWS;
    return (size_t)tile * WEIGHT_TILE_BYTES +
           (size_t)(2 * (pair + row_in_panel % WEIGHT_TILE_ROWS) + col % 2) * 2;
}

/* Bytes of one panel, and where it begins. */
static inline size_t weight_panel_bytes(const struct weight *weight)
{
    return weight->panel_bytes;
}

/* Of a weight and all that are joined to it: outputs, bytes, and whether any is of blocks. */
static inline int32_t weight_all_rows(const struct weight *weight)
{
    int32_t rows = 0;
    for (; weight != NULL; weight = weight->next)
        rows += weight->rows;
    return rows;
}

static inline int64_t weight_all_bytes(const struct weight *weight)
{
    int64_t bytes = 0;
    for (; weight != NULL; weight = weight->next)
        bytes += (int64_t)weight->num_panels * (int64_t)weight->panel_bytes;
    return bytes;
}

static inline bool weight_any_quant(const struct weight *weight)
{
    bool any = false;
    for (; weight != NULL; weight = weight->next)
        any = any || dtype_is_quant(weight->dtype);
    return any;
}

static inline const void *weight_panel(const struct weight *weight, int32_t panel)
{
    return weight->panels + (size_t)panel * weight_panel_bytes(weight);
}

#endif
