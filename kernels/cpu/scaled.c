#include "kernels/cpu/scaled.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/e4m3.h"

/* --- form ----------------------------------------------------------------------------------- */

/* Where each group's columns begin: groups[g].first, by counting. */
static int count_groups(const struct store_object *object, struct scaled_form *form)
{
    const struct scaling *scaling = &object->scaling;
    for (int32_t k = 0; k < object->cols; k++) {
        if (scaling->groups[k] < 0 || scaling->groups[k] >= form->num_groups)
            return -EINVAL;
        form->groups[scaling->groups[k] + 1].first++;
    }
    for (int32_t g = 0; g < form->num_groups; g++) {
        if (form->groups[g + 1].first == 0)
            return -EINVAL;
        form->groups[g + 1].first += form->groups[g].first;
    }
    return 0;
}

static bool is_in_order(const struct store_object *object)
{
    for (int32_t k = 1; k < object->cols; k++)
        if (object->scaling.groups[k] < object->scaling.groups[k - 1])
            return false;
    return true;
}

/* A stable sort by group. */
static int sort_columns(const struct store_object *object, struct scaled_form *form)
{
    int32_t *next = malloc((size_t)form->num_groups * sizeof(*next));
    form->order = malloc((size_t)object->cols * sizeof(*form->order));
    if (next == NULL || form->order == NULL) {
        free(next);
        return -ENOMEM;
    }
    for (int32_t g = 0; g < form->num_groups; g++)
        next[g] = form->groups[g].first;
    for (int32_t k = 0; k < object->cols; k++)
        form->order[next[object->scaling.groups[k]]++] = k;
    free(next);
    return 0;
}

static void place_groups(enum dtype dtype, struct scaled_form *form)
{
    const size_t unit = (size_t)scaled_unit(dtype);
    size_t at = 0;
    for (int32_t g = 0; g < form->num_groups; g++) {
        const size_t cols = (size_t)(form->groups[g + 1].first - form->groups[g].first);
        form->groups[g].at = at;
        at += scaled_head_bytes(form) + (cols + unit - 1) / unit * scaled_unit_bytes(dtype);
    }
    form->groups[form->num_groups].at = at;
    form->panel_bytes = at;
}

static bool is_described(const struct store_object *object)
{
    const struct scaling *scaling = &object->scaling;
    return dtype_is_scaled(object->dtype) && object->rows > 0 && object->cols > 0 &&
           scaling->groups != NULL && scaling->num_groups > 0 &&
           scaling->num_groups <= object->cols && scaling->scales <= DTYPE_BF16;
}

int scaled_describe(const struct store_object *object, struct scaled_form **ret_form)
{
    if (!is_described(object))
        return -EINVAL;
    const size_t num = (size_t)object->scaling.num_groups;
    struct scaled_form *form = calloc(1, sizeof(*form) + (num + 1) * sizeof(form->groups[0]));
    if (form == NULL)
        return -ENOMEM;
    form->scales = object->scaling.scales;
    form->has_zeros = object->scaling.has_zeros;
    form->num_groups = object->scaling.num_groups;
    int r = count_groups(object, form);
    if (r == 0 && !is_in_order(object))
        r = sort_columns(object, form);
    if (r < 0) {
        scaled_free(form);
        return r;
    }
    place_groups(object->dtype, form);
    *ret_form = form;
    return 0;
}

void scaled_free(struct scaled_form *form)
{
    if (form == NULL)
        return;
    free(form->order);
    free(form);
}

static uint32_t mix(uint32_t hash, uint32_t value)
{
    return (hash ^ value) * 16777619u;
}

uint32_t scaled_hash(const struct scaled_form *form, int32_t cols)
{
    uint32_t hash = mix(mix(2166136261u, (uint32_t)form->scales), form->has_zeros);
    for (int32_t g = 0; g <= form->num_groups; g++)
        hash = mix(hash, (uint32_t)form->groups[g].first);
    for (int32_t k = 0; form->order != NULL && k < cols; k++)
        hash = mix(hash, (uint32_t)form->order[k]);
    return hash;
}

size_t scaling_panel_bytes(const struct store_object *object)
{
    struct scaled_form *form;
    if (scaled_describe(object, &form) < 0)
        return 0;
    const size_t bytes = form->panel_bytes;
    scaled_free(form);
    return bytes;
}

/* --- loading -------------------------------------------------------------------------------- */

size_t scaled_row_bytes(const struct weight *weight)
{
    const struct scaling scaling = { .num_groups = weight->form->num_groups,
                                     .has_zeros = weight->form->has_zeros };
    return scaling_row_bytes(&scaling, weight->cols);
}

static bool is_nan_code(enum dtype dtype, unsigned char q)
{
    return dtype == DTYPE_F8_E4M3 && (q & 0x7f) == 0x7f;
}

/* Columns [first, end) of a row, stored from `quants` on. Returns whether a code is NaN. */
static bool put_columns(const struct weight *weight, unsigned char *quants, int32_t lane,
                        int32_t first, int32_t end, const unsigned char *from)
{
    const enum dtype dtype = weight->dtype;
    const int32_t *order = weight->form->order, unit = scaled_unit(dtype);
    const int bits = dtype == DTYPE_I4 ? 4 : 8;
    const size_t bytes = scaled_unit_bytes(dtype), size = bytes / PANEL_ROWS;
    bool has_nan = false;
    for (int32_t k = first; k < end; k += unit, quants += bytes) {
        const int32_t num = end - k < unit ? end - k : unit;
        uint32_t word = 0;
        for (int32_t i = 0; i < num; i++) {
            const unsigned char q = from[order != NULL ? order[k + i] : k + i];
            word |= (uint32_t)(bits == 4 ? q & 15 : q) << (bits * i);
            has_nan = has_nan || is_nan_code(dtype, q);
        }
        memcpy(quants + (size_t)lane * size, &word, size);
    }
    return has_nan;
}

static void put_scale(const struct scaled_form *form, unsigned char *group, int32_t lane,
                      float scale)
{
    if (form->scales == DTYPE_F32) {
        memcpy(group + (size_t)lane * sizeof(scale), &scale, sizeof(scale));
        return;
    }
    const uint16_t half = form->scales == DTYPE_F16 ? half_to_f16(scale)
                          : isnan(scale)            ? 0x7fc0
                                         : (uint16_t)(float_to_bits(scale) >> 16); /* exact */
    memcpy(group + (size_t)lane * sizeof(half), &half, sizeof(half));
}

static void load_row(struct weight *weight, unsigned char *panel, int32_t lane,
                     const unsigned char *from)
{
    const struct scaled_form *form = weight->form;
    const unsigned char *scales = from + weight->cols;
    const unsigned char *zeros = scales + (size_t)form->num_groups * sizeof(float);

    for (int32_t g = 0; g < form->num_groups; g++) {
        unsigned char *group = panel + form->groups[g].at;
        unsigned char *quants = group + scaled_head_bytes(form);
        float scale;
        memcpy(&scale, scales + (size_t)g * sizeof(scale), sizeof(scale));
        const bool has_nan = put_columns(weight, quants, lane, form->groups[g].first,
                                         form->groups[g + 1].first, from);
        put_scale(form, group, lane, has_nan ? NAN : scale);
        if (form->has_zeros)
            group[PANEL_ROWS * dtype_bytes(form->scales) + (size_t)lane] = zeros[g];
    }
}

void scaled_load_panel(struct weight *weight, int32_t first_row, int32_t num_rows,
                       const unsigned char *from)
{
    unsigned char *panel =
        weight->panels + (size_t)(first_row / PANEL_ROWS) * weight_panel_bytes(weight);
    const size_t row_bytes = scaled_row_bytes(weight);
    for (int32_t r = 0; r < num_rows; r++)
        load_row(weight, panel, (first_row + r) % PANEL_ROWS, from + (size_t)r * row_bytes);
}

/* --- reading -------------------------------------------------------------------------------- */

float scaled_scale_of(const struct scaled_form *form, const unsigned char *group, int32_t lane)
{
    float scale;
    uint16_t half;
    if (form->scales == DTYPE_F32) {
        memcpy(&scale, group + (size_t)lane * sizeof(scale), sizeof(scale));
        return scale;
    }
    memcpy(&half, group + (size_t)lane * sizeof(half), sizeof(half));
    return form->scales == DTYPE_F16 ? half_from_f16(half) : half_from_bf16(half);
}

int32_t scaled_zero_of(const struct weight *weight, const unsigned char *group, int32_t lane)
{
    const struct scaled_form *form = weight->form;
    if (!form->has_zeros)
        return weight->dtype == DTYPE_I4 ? 8 : 0;
    const unsigned char zero = group[PANEL_ROWS * dtype_bytes(form->scales) + (size_t)lane];
    return weight->dtype == DTYPE_I8 ? (int8_t)zero : zero;
}

float scaled_q_of(const struct weight *weight, const unsigned char *quants, int32_t lane,
                  int32_t column)
{
    if (weight->dtype == DTYPE_I4) {
        const unsigned char byte =
            quants[(size_t)(column / 8) * PANEL_ROWS * 4 + (size_t)(4 * lane + column % 8 / 2)];
        return (float)(byte >> column % 2 * 4 & 15);
    }
    const unsigned char byte =
        quants[(size_t)(column / 2) * PANEL_ROWS * 2 + (size_t)(2 * lane + column % 2)];
    return weight->dtype == DTYPE_I8 ? (float)(int8_t)byte : e4m3_decode(byte);
}

/* Columns are looked for in their groups: a lookup of few rows, no product. */
void scaled_read_row(const struct weight *weight, int32_t row, int32_t first_col, int32_t num_cols,
                     float *out)
{
    const struct scaled_form *form = weight->form;
    const unsigned char *panel = weight_panel(weight, row / PANEL_ROWS);
    const int32_t lane = row % PANEL_ROWS;

    for (int32_t g = 0; g < form->num_groups; g++) {
        const unsigned char *group = panel + form->groups[g].at;
        const float scale = scaled_scale_of(form, group, lane);
        const int32_t first = form->groups[g].first, end = form->groups[g + 1].first;
        const int32_t zero = scaled_zero_of(weight, group, lane);
        for (int32_t k = first; k < end; k++) {
            const int32_t at = (form->order != NULL ? form->order[k] : k) - first_col;
            if (at >= 0 && at < num_cols)
                out[at] =
                    scale * (scaled_q_of(weight, group + scaled_head_bytes(form), lane, k - first) -
                             (float)zero);
        }
    }
}
