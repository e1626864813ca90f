#include "kernels/cuda/weight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/pack.h"

enum { TILE = 32, ALIGN = 256 };

/* What a type becomes. */
static const struct {
    bool is_known;
    enum matrix_form form;
    enum number number;
    int32_t group;
    bool has_min;
} forms[] = {
    [DTYPE_F32] = { true, MATRIX_PLAIN, NUMBER_F32, 0, false },
    [DTYPE_F16] = { true, MATRIX_PLAIN, NUMBER_F16, 0, false },
    [DTYPE_BF16] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
    [DTYPE_Q8_0] = { true, MATRIX_I8, NUMBER_BF16, 32, false },
    [DTYPE_Q6_K] = { true, MATRIX_I8, NUMBER_BF16, 16, false },
    [DTYPE_Q4_0] = { true, MATRIX_U4, NUMBER_BF16, 32, false },
    [DTYPE_Q4_K] = { true, MATRIX_U4, NUMBER_BF16, 32, true },
    [DTYPE_Q4_1] = { true, MATRIX_U4, NUMBER_BF16, 32, true },
    [DTYPE_Q5_0] = { true, MATRIX_I8, NUMBER_BF16, 32, false },
    [DTYPE_Q3_K] = { true, MATRIX_I8, NUMBER_BF16, 16, false },
    [DTYPE_Q5_1] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
    [DTYPE_Q2_K] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
    [DTYPE_Q5_K] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
    [DTYPE_F8_E4M3] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
    [DTYPE_I8] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
    [DTYPE_I4] = { true, MATRIX_PLAIN, NUMBER_BF16, 0, false },
};

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int copy_scaling(const struct store_object *object, struct weight *w, struct error *err)
{
    const struct scaling *from = &object->scaling;
    const size_t bytes = (size_t)object->cols * sizeof(int32_t);
    for (int32_t k = 0; k < object->cols; k++)
        if (from->groups == NULL || from->groups[k] < 0 || from->groups[k] >= from->num_groups)
            return error_set(err, -EINVAL, "input %d of a weight has no group of %d", k,
                             from->num_groups);
    w->scaling = (struct weight_scaling){ from->has_zeros, from->num_groups, malloc(bytes) };
    if (w->scaling.groups == NULL)
        return error_set(err, -ENOMEM, "no memory for the groups of %d inputs", object->cols);
    memcpy(w->scaling.groups, from->groups, bytes);
    return 0;
}

int weight_describe(const struct store_object *object, struct weight *ret_weight, struct error *err)
{
    const size_t num = sizeof(forms) / sizeof(forms[0]);
    const enum dtype dtype = object->dtype;
    const int32_t rows = object->rows, cols = object->cols;
    if ((size_t)dtype >= num || !forms[dtype].is_known)
        return error_set(err, -ENOTSUP, "weights of type %s are not there on a GPU",
                         dtype_name(dtype));
    if (rows < 1 || cols < 1 || cols % dtype_block(dtype) != 0)
        return error_set(err, -EINVAL, "a weight of %d x %d %s is empty, or of no whole blocks",
                         rows, cols, dtype_name(dtype));
    struct weight w = { .dtype = dtype };
    struct matrix *m = &w.matrix;
    m->form = forms[dtype].form;
    m->number = forms[dtype].number;
    m->group = forms[dtype].group;
    m->rows = rows;
    m->cols = cols;
    const size_t unit = m->form == MATRIX_U4 ? 64 : TILE;
    const size_t stride = ((size_t)cols + unit - 1) / unit * unit;
    const size_t tall = ((size_t)rows + TILE - 1) / TILE * TILE;
    size_t elements;
    if (stride > INT32_MAX || __builtin_mul_overflow(stride, tall, &elements) ||
        elements > SIZE_MAX / 16)
        return error_set(err, -EOVERFLOW, "a weight of %d x %d is too large", rows, cols);
    m->stride = (int32_t)stride;
    if (m->form == MATRIX_PLAIN) {
        w.data_bytes = elements * (m->number == NUMBER_F32 ? 4 : 2);
    } else {
        w.data_bytes = m->form == MATRIX_I8 ? elements : elements / 2;
        w.scale_bytes = elements / (size_t)m->group * 2;
        w.min_bytes = forms[dtype].has_min ? w.scale_bytes : 0;
    }
    const int r = dtype_is_scaled(dtype) ? copy_scaling(object, &w, err) : 0;
    *ret_weight = w;
    return r;
}

void weight_forget(struct weight *w)
{
    if (w->image != NULL) {
        device_forget_dirty(w->device, w);
        munmap(w->image, weight_total(w));
    }
    free(w->scaling.groups);
}

size_t weight_total(const struct weight *w)
{
    return round_up(w->data_bytes) + round_up(w->scale_bytes) + round_up(w->min_bytes);
}

void weight_place(struct weight *w, unsigned char *at)
{
    w->matrix.data = at;
    at += round_up(w->data_bytes);
    w->matrix.scales = w->scale_bytes > 0 ? (const uint16_t *)(void *)at : NULL;
    at += round_up(w->scale_bytes);
    w->matrix.mins = w->min_bytes > 0 ? (const uint16_t *)(void *)at : NULL;
}

int weight_alloc(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                 struct weight **ret_weight, struct error *err)
{
    struct weight form;
    const struct store_object object = { .dtype = dtype, .rows = rows, .cols = cols };
    if (dtype_is_scaled(dtype))
        return error_set(err, -EINVAL, "a weight of type %s is of a store", dtype_name(dtype));
    const int r = weight_describe(&object, &form, err);
    if (r < 0)
        return r;
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

/* Zeros, which the kernel backs when they are touched: several threads may be first. */
static unsigned char *image_of(struct weight *w)
{
    unsigned char *image = __atomic_load_n(&w->image, __ATOMIC_ACQUIRE), *none = NULL;
    if (image != NULL)
        return image;
    image = mmap(NULL, weight_total(w), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (image == MAP_FAILED)
        return NULL;
    if (__atomic_compare_exchange_n(&w->image, &none, image, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        device_note_dirty(w->device, w);
        return image;
    }
    munmap(image, weight_total(w));
    return none;
}

static void load_blocks(struct weight *w, int32_t first_row, int32_t num_rows,
                        const unsigned char *from)
{
    unsigned char *image = image_of(w);
    const size_t row_bytes = dtype_row_bytes(w->dtype, w->matrix.cols);
    if (image == NULL) {
        device_note_failure(w->device, -ENOMEM);
        return;
    }
    unsigned char *scales = image + round_up(w->data_bytes);
    const struct pack_image parts = {
        .data = image,
        .scales = (uint16_t *)(void *)scales,
        .mins = w->min_bytes > 0 ? (uint16_t *)(void *)(scales + round_up(w->scale_bytes)) : NULL,
    };
    for (int32_t r = 0; r < num_rows; r++)
        pack_row(&parts, &w->matrix, w->dtype, first_row + r, from + (size_t)r * row_bytes);
    device_note_packed(w->device, w, num_rows);
}

static void load_plain(struct weight *w, int32_t first_row, int32_t num_rows,
                       const unsigned char *from)
{
    const struct matrix *m = &w->matrix;
    const size_t size = m->number == NUMBER_F32 ? 4 : 2;
    device_copy_rows(w->device,
                     (unsigned char *)m->data + (size_t)first_row * (size_t)m->stride * size,
                     (size_t)m->stride * size, from, (size_t)m->cols * size, num_rows);
}

/* scale (q - zero) of a row, as bf16. */
static void widen_row(const struct weight *w, const unsigned char *from, uint16_t *to)
{
    const struct weight_scaling *s = &w->scaling;
    const unsigned char *scales = from + w->matrix.cols;
    const unsigned char *zeros = scales + (size_t)s->num_groups * sizeof(float);
    for (int32_t k = 0; k < w->matrix.cols; k++) {
        const int32_t g = s->groups[k];
        const bool is_i8 = w->dtype == DTYPE_I8;
        float scale, zero = w->dtype == DTYPE_I4 ? 8.0f : 0.0f;
        memcpy(&scale, scales + (size_t)g * sizeof(scale), sizeof(scale));
        if (s->has_zeros)
            zero = is_i8 ? (float)(int8_t)zeros[g] : (float)zeros[g];
        const float q = w->dtype == DTYPE_F8_E4M3 ? e4m3_decode(from[k])
                        : is_i8                   ? (float)(int8_t)from[k]
                                                  : (float)from[k];
        to[k] = half_to_bf16(scale * (q - zero));
    }
}

/* Types without a form of their own here. */
static void load_widened(struct weight *w, int32_t first_row, int32_t num_rows,
                         const unsigned char *from)
{
    const struct scaling form = { .has_zeros = w->scaling.has_zeros,
                                  .num_groups = w->scaling.num_groups };
    const bool is_scaled = dtype_is_scaled(w->dtype);
    const size_t row_bytes = is_scaled ? scaling_row_bytes(&form, w->matrix.cols)
                                       : dtype_row_bytes(w->dtype, w->matrix.cols);
    uint16_t *row = malloc((size_t)w->matrix.cols * sizeof(*row));
    if (row == NULL) {
        device_note_failure(w->device, -ENOMEM);
        return;
    }
    for (int32_t r = 0; r < num_rows; r++) {
        if (is_scaled)
            widen_row(w, from + (size_t)r * row_bytes, row);
        else
            pack_widen(w->dtype, from + (size_t)r * row_bytes, w->matrix.cols, row);
        load_plain(w, first_row + r, 1, (const unsigned char *)row);
    }
    free(row);
}

void weight_load(struct weight *w, int32_t first_row, int32_t num_rows, const void *from)
{
    if (w->matrix.form != MATRIX_PLAIN)
        load_blocks(w, first_row, num_rows, from);
    else if (dtype_is_quant(w->dtype) || dtype_is_scaled(w->dtype))
        load_widened(w, first_row, num_rows, from);
    else
        load_plain(w, first_row, num_rows, from);
}

int weight_flush(struct weight *w)
{
    if (w->image == NULL)
        return 0;
    const size_t bytes = weight_total(w);
    device_copy_rows(w->device, (unsigned char *)w->matrix.data, bytes, w->image, bytes, 1);
    munmap(w->image, bytes);
    w->image = NULL;
    return device_failure(w->device);
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
