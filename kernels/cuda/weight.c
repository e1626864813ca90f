#include "kernels/cuda/weight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/pack.h"

enum { TILE = 32, ALIGN = 256 };

/* What a type becomes. */
static const struct form {
    enum matrix_form form;
    enum number number;
    int32_t low, high; /* bits of a number in its planes; 0: plain */
    bool has_min;      /* one of f16 a unit */
    bool has_tails;    /* two bytes a unit, and f16 for 256 inputs */
} forms[] = {
    [DTYPE_F32] = { MATRIX_PLAIN, NUMBER_F32, 0, 0, false, false },
    [DTYPE_F16] = { MATRIX_PLAIN, NUMBER_F16, 0, 0, false, false },
    [DTYPE_BF16] = { MATRIX_PLAIN, NUMBER_BF16, 0, 0, false, false },
    [DTYPE_Q8_0] = { MATRIX_I8, NUMBER_BF16, 8, 0, false, false },
    [DTYPE_Q4_0] = { MATRIX_U4, NUMBER_BF16, 4, 0, false, false },
    [DTYPE_Q4_1] = { MATRIX_U4, NUMBER_BF16, 4, 0, true, false },
    [DTYPE_Q4_K] = { MATRIX_U4, NUMBER_BF16, 4, 0, true, false },
    [DTYPE_Q5_0] = { MATRIX_U5, NUMBER_BF16, 4, 1, false, false },
    [DTYPE_Q5_1] = { MATRIX_U5, NUMBER_BF16, 4, 1, true, false },
    [DTYPE_Q5_K] = { MATRIX_U5, NUMBER_BF16, 4, 1, false, true },
    [DTYPE_Q6_K] = { MATRIX_U6, NUMBER_BF16, 4, 2, false, true },
    [DTYPE_Q3_K] = { MATRIX_U3, NUMBER_BF16, 2, 1, false, true },
    [DTYPE_Q2_K] = { MATRIX_U2, NUMBER_BF16, 2, 0, false, true },
    [DTYPE_F8_E4M3] = { MATRIX_E4M3, NUMBER_BF16, 8, 0, false, false },
    [DTYPE_I8] = { MATRIX_I8, NUMBER_BF16, 8, 0, false, false },
    [DTYPE_I4] = { MATRIX_U4, NUMBER_BF16, 4, 0, false, false },
};
static const struct form e4m3_rows = { MATRIX_E4M3_ROWS, NUMBER_BF16, 8, 0, false, false };

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Columns that a row is rounded up to: whole loads. */
static size_t load_cols(const struct form *form)
{
    if (form->form == MATRIX_E4M3_ROWS)
        return PACK_BLOCK;
    return form->low == 0 || form->low == 8 ? 32 : (size_t)(256 / form->low);
}

/* --- columns of types with scales ---------------------------------------------------------------
 */

/* Columns sorted by group: where each group begins, in whole units, and where the last ends. */
static int64_t *first_columns(const struct weight_scaling *s, int32_t cols)
{
    int64_t *first = calloc((size_t)s->num_groups + 1, sizeof(*first));
    for (int32_t k = 0; first != NULL && k < cols; k++)
        first[s->groups[k] + 1]++;
    for (int32_t g = 0; first != NULL && g < s->num_groups; g++)
        first[g + 1] = first[g] + (first[g + 1] + TILE - 1) / TILE * TILE;
    return first;
}

static int place_columns(struct weight_scaling *s, int32_t cols, int64_t *ret_end, bool *ret_moved)
{
    int64_t *next = first_columns(s, cols);
    s->places = malloc((size_t)cols * sizeof(*s->places));
    if (next == NULL || s->places == NULL || next[s->num_groups] > INT32_MAX - 256) {
        free(next);
        return -ENOMEM;
    }
    *ret_end = next[s->num_groups];
    *ret_moved = false;
    for (int32_t k = 0; k < cols; k++) {
        s->places[k] = (int32_t)next[s->groups[k]]++;
        *ret_moved |= s->places[k] != k;
    }
    free(next);
    return 0;
}

static int copy_scaling(const struct store_object *object, struct weight *w, struct error *err)
{
    const struct scaling *from = &object->scaling;
    const size_t bytes = (size_t)object->cols * sizeof(int32_t);
    for (int32_t k = 0; k < object->cols; k++)
        if (from->groups == NULL || from->groups[k] < 0 || from->groups[k] >= from->num_groups)
            return error_set(err, -EINVAL, "input %d of a weight has no group of %d", k,
                             from->num_groups);
    if (from->has_zeros && object->dtype == DTYPE_F8_E4M3)
        return error_set(err, -ENOTSUP, "weights of type %s have no zeros on a GPU",
                         dtype_name(object->dtype));
    w->scaling = (struct weight_scaling){ .has_zeros = from->has_zeros,
                                          .num_groups = from->num_groups,
                                          .groups = malloc(bytes) };
    if (w->scaling.groups == NULL)
        return error_set(err, -ENOMEM, "no memory for the groups of %d inputs", object->cols);
    memcpy(w->scaling.groups, from->groups, bytes);
    return 0;
}

/* The group of each unit of columns; those behind the last are of the last. */
static void group_units(const struct weight_scaling *s, int32_t cols, int32_t units, int32_t *to)
{
    for (int32_t u = 0; u < units; u++)
        to[u] = s->num_groups - 1;
    for (int32_t k = 0; k < cols; k++)
        to[s->places[k] / TILE] = s->groups[k];
}

/* The shift that gives the group of each unit, or -1. */
static int32_t shift_of(const int32_t *unit_groups, int32_t units)
{
    for (int32_t shift = 0; shift < 31; shift++) {
        int32_t u = 0;
        while (u < units && unit_groups[u] == u >> shift)
            u++;
        if (u == units)
            return shift;
    }
    return -1;
}

/* Rows of E4M3 for cuBLASLt: one group, or each of a block's columns. */
static bool suits_rows(const struct store_object *object)
{
    const struct scaling *s = &object->scaling;
    for (int32_t k = 0; s->num_groups > 1 && k < object->cols; k++)
        if (s->groups == NULL || s->groups[k] != k / PACK_BLOCK)
            return false;
    return object->dtype == DTYPE_F8_E4M3 && s->rounds_inputs && s->num_groups >= 1;
}

/* The table of blocks: all ones, which no scale is, then zeros behind the last group. */
static int make_blocks(struct weight *w)
{
    const struct matrix *m = &w->matrix;
    const size_t row = (size_t)pack_block_row(m->num_groups);
    const size_t num = (size_t)((m->rows + PACK_BLOCK - 1) / PACK_BLOCK) * row;
    w->blocks = malloc(num * sizeof(*w->blocks));
    if (w->blocks == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < num; i++)
        w->blocks[i] = i % row < (size_t)m->num_groups ? UINT32_MAX : 0;
    w->part_bytes[WEIGHT_BLOCKS] = num * sizeof(*w->blocks);
    return 0;
}

static int describe_scaled(const struct store_object *object, struct weight *w, size_t tall,
                           struct error *err)
{
    static const enum number numbers[] = {
        [DTYPE_F32] = NUMBER_F32, [DTYPE_F16] = NUMBER_F16, [DTYPE_BF16] = NUMBER_BF16
    };
    const struct weight_scaling *s = &w->scaling;
    struct matrix *m = &w->matrix;
    const int32_t units = m->stride / TILE;
    int32_t *groups = malloc((size_t)units * sizeof(*groups));
    if (groups == NULL)
        return error_set(err, -ENOMEM, "no memory for the groups of %d inputs", m->cols);
    group_units(s, m->cols, units, groups);
    m->group_shift = shift_of(groups, units);
    m->num_groups = s->num_groups;
    const bool is_rows = m->form == MATRIX_E4M3_ROWS;
    m->scale_number = is_rows ? NUMBER_F32 : numbers[object->scaling.scales];
    free(groups);
    const size_t scales = tall * (size_t)s->num_groups;
    w->part_bytes[WEIGHT_SCALES] = scales * (m->scale_number == NUMBER_F32 ? 4 : 2);
    w->part_bytes[WEIGHT_ZEROS] = s->has_zeros ? scales : 0;
    w->part_bytes[WEIGHT_UNIT_GROUPS] = m->group_shift < 0 ? (size_t)units * sizeof(int32_t) : 0;
    return is_rows && s->num_groups > 1 && make_blocks(w) < 0
               ? error_set(err, -ENOMEM, "no memory for the scales of a weight's blocks")
               : 0;
}

static void make_order(const struct weight *w, int32_t *order)
{
    const struct matrix *m = &w->matrix;
    for (int32_t i = 0; i < m->stride; i++)
        order[i] = -1;
    for (int32_t k = 0; k < m->cols; k++) {
        order[w->scaling.places[k]] = k;
        order[m->stride + k] = w->scaling.places[k];
    }
}

int weight_load_tables(struct weight *w)
{
    const struct matrix *m = &w->matrix;
    const size_t groups = w->part_bytes[WEIGHT_UNIT_GROUPS], order = w->part_bytes[WEIGHT_ORDER];
    int32_t *table = groups + order > 0 ? malloc(groups > order ? groups : order) : NULL;
    if (groups + order == 0)
        return 0;
    if (table == NULL)
        return -ENOMEM;
    if (groups > 0) {
        group_units(&w->scaling, m->cols, m->stride / TILE, table);
        load_bytes(w->device, (unsigned char *)m->unit_groups, (unsigned char *)table, groups);
    }
    if (order > 0) {
        make_order(w, table);
        load_bytes(w->device, (unsigned char *)m->order, (unsigned char *)table, order);
    }
    free(table);
    return 0;
}

/* --- form and place ----------------------------------------------------------------------------
 */

static void describe_blocks(const struct form *form, struct weight *w, size_t elements)
{
    w->matrix.scale_number = NUMBER_F16;
    w->matrix.num_groups = w->matrix.stride / TILE;
    w->part_bytes[WEIGHT_SCALES] = elements / TILE * 2;
    w->part_bytes[WEIGHT_MINS] = form->has_min ? elements / TILE * 2 : 0;
    if (form->has_tails) {
        w->part_bytes[WEIGHT_SCALES] = elements / 256 * 4;
        w->part_bytes[WEIGHT_TAILS] = elements / TILE * 2;
    }
}

static int describe(const struct store_object *object, const struct form *form, struct weight *w,
                    struct error *err)
{
    const size_t tall = round_up((size_t)object->rows, TILE);
    const bool is_scaled = dtype_is_scaled(object->dtype);
    int64_t cols = object->cols;
    bool moved = false;
    int r = is_scaled ? copy_scaling(object, w, err) : 0;
    if (r == 0 && is_scaled && place_columns(&w->scaling, object->cols, &cols, &moved) < 0)
        r = error_set(err, -ENOMEM, "no memory for the order of %d inputs", object->cols);
    if (r < 0)
        return r;
    const size_t stride = round_up((size_t)cols, load_cols(form));
    size_t elements;
    if (stride > INT32_MAX || __builtin_mul_overflow(stride, tall, &elements) ||
        elements > SIZE_MAX / 16)
        return error_set(err, -EOVERFLOW, "a weight of %d x %d is too large", object->rows,
                         object->cols);
    w->matrix.stride = (int32_t)stride;
    if (form->low == 0) {
        w->data_bytes = elements * (form->number == NUMBER_F32 ? 4 : 2);
        return 0;
    }
    w->data_bytes = elements / 8 * (size_t)form->low;
    w->part_bytes[WEIGHT_HIGH] = elements / 8 * (size_t)form->high;
    w->part_bytes[WEIGHT_ORDER] = moved ? (stride + (size_t)object->cols) * sizeof(int32_t) : 0;
    if (is_scaled)
        return describe_scaled(object, w, tall, err);
    describe_blocks(form, w, elements);
    return 0;
}

int weight_describe(const struct store_object *object, bool rounds, struct weight *ret_weight,
                    struct error *err)
{
    const enum dtype dtype = object->dtype;
    const int32_t rows = object->rows, cols = object->cols;
    if ((size_t)dtype >= sizeof(forms) / sizeof(forms[0]))
        return error_set(err, -ENOTSUP, "weights of type %s are not there on a GPU",
                         dtype_name(dtype));
    if (rows < 1 || cols < 1 || cols % dtype_block(dtype) != 0)
        return error_set(err, -EINVAL, "a weight of %d x %d %s is empty, or of no whole blocks",
                         rows, cols, dtype_name(dtype));
    const struct form *form = rounds && suits_rows(object) ? &e4m3_rows : &forms[dtype];
    *ret_weight = (struct weight){
        .dtype = dtype,
        .matrix = { .form = form->form, .number = form->number, .rows = rows, .cols = cols },
    };
    return describe(object, form, ret_weight, err);
}

void weight_forget(struct weight *w)
{
    if (w->is_dirty)
        device_forget_dirty(w->device, w);
    weight_drop_edges(w);
    free(w->blocks);
    free(w->scaling.groups);
    free(w->scaling.places);
}

/* Where each part begins behind `at`, NULL for those that are not there; returns the end. */
static unsigned char *lay_out(const struct weight *w, unsigned char *at, unsigned char **ret_parts)
{
    for (int i = 0; i < WEIGHT_NUM_PARTS; i++) {
        const size_t bytes = i == WEIGHT_DATA ? w->data_bytes : w->part_bytes[i];
        ret_parts[i] = bytes > 0 ? at : NULL;
        at += round_up(bytes, ALIGN);
    }
    return at;
}

size_t weight_total(const struct weight *w)
{
    size_t bytes = round_up(w->data_bytes, ALIGN);
    for (int i = WEIGHT_DATA + 1; i < WEIGHT_NUM_PARTS; i++)
        bytes += round_up(w->part_bytes[i], ALIGN);
    return bytes;
}

void weight_place(struct weight *w, unsigned char *at)
{
    struct matrix *m = &w->matrix;
    unsigned char *parts[WEIGHT_NUM_PARTS];
    lay_out(w, at, parts);
    m->data = parts[WEIGHT_DATA];
    m->high = parts[WEIGHT_HIGH];
    m->scales = parts[WEIGHT_SCALES];
    m->mins = (const uint16_t *)(void *)parts[WEIGHT_MINS];
    m->tails = parts[WEIGHT_TAILS];
    m->zeros = parts[WEIGHT_ZEROS];
    m->unit_groups = (const int32_t *)(void *)parts[WEIGHT_UNIT_GROUPS];
    m->order = (const int32_t *)(void *)parts[WEIGHT_ORDER];
    m->blocks = (const float *)(void *)parts[WEIGHT_BLOCKS];
}

int weight_alloc(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                 struct weight **ret_weight, struct error *err)
{
    struct weight form;
    const struct store_object object = { .dtype = dtype, .rows = rows, .cols = cols };
    if (dtype_is_scaled(dtype))
        return error_set(err, -EINVAL, "a weight of type %s is of a store", dtype_name(dtype));
    const int r = weight_describe(&object, false, &form, err);
    if (r < 0)
        return r; /* types without scales leave nothing behind */
    struct weight *w = malloc(sizeof(*w));
    void *at = memory_take(&device->memory, MEMORY_WEIGHTS, weight_total(&form));
    if (w == NULL || at == NULL) {
        free(w);
        memory_give(&device->memory, at);
        return error_set(err, -ENOMEM, "no GPU memory for a weight of %d x %d", rows, cols);
    }
    *w = form;
    w->device = device;
    w->is_owner = true;
    weight_place(w, at);
    device_note_weight(device, w);
    *ret_weight = w;
    return 0;
}

void weight_free(struct weight *w)
{
    if (w == NULL)
        return;
    weight_forget(w);
    if (w->is_owner)
        memory_give(&w->device->memory, (void *)w->matrix.data);
    free(w);
}

size_t weight_bytes(const struct weight *w)
{
    return weight_total(w);
}
