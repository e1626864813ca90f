#include "worker/model/quant_read.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/e4m3.h"
#include "worker/model/quant_groups.h"

/* Rows and columns of a quantized tensor, and what of its file is in memory already. */
struct window {
    const struct quant_tensor *tensor;
    int64_t row, num_rows, col, num_cols;
    const struct read_window *ahead; /* may be NULL */
};

/* Columns that are unpacked at once: what a row gets of them is a line of the cache. */
enum { STRIP = 64 };

static int read_at(const struct window *w, const struct checkpoint_tensor *tensor, int64_t first,
                   int64_t num, size_t size, void *to)
{
    const uint64_t begin = tensor->file->data_begin + tensor->info->begin + (uint64_t)first * size;
    if (read_window_get(w->ahead, tensor->file->fd, begin, to, (size_t)num * size))
        return 0;
    return safetensors_read(tensor->file, tensor->info, (uint64_t)first * size, to,
                            (size_t)num * size);
}

static uint32_t value_of(const uint32_t *words, int64_t index, int32_t per)
{
    const int32_t bits = 32 / per;
    return words[index / per] >> bits * (index % per) & ((1u << bits) - 1);
}

/* Where AWQ keeps column j of eight. */
static int64_t awq_place(int64_t index)
{
    static const int64_t places[] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    return index - index % 8 + places[index % 8];
}

/* --- values: a byte each, rows `stride` apart ------------------------------------------------ */

static int read_bytes(const struct window *w, unsigned char *to, size_t stride)
{
    int r = 0;
    for (int64_t i = 0; r == 0 && i < w->num_rows; i++)
        r = read_at(w, &w->tensor->values, (w->row + i) * w->tensor->cols + w->col, w->num_cols, 1,
                    to + (size_t)i * stride);
    return r;
}

/* A row's words, from the one on that holds the first column. */
static int read_in_order(const struct window *w, unsigned char *to, size_t stride)
{
    const int32_t per = w->tensor->per;
    const int64_t width = ((int64_t)w->tensor->cols + per - 1) / per, first = w->col / per;
    const int64_t num = (w->col + w->num_cols + per - 1) / per - first;
    uint32_t *words = malloc((size_t)num * sizeof(*words));
    int r = words == NULL ? -ENOMEM : 0;
    for (int64_t i = 0; r == 0 && i < w->num_rows; i++) {
        r = read_at(w, &w->tensor->values, (w->row + i) * width + first, num, sizeof(*words),
                    words);
        for (int64_t k = 0; r == 0 && k < w->num_cols; k++)
            to[(size_t)i * stride + (size_t)k] =
                (unsigned char)value_of(words, w->col - first * per + k, per);
    }
    free(words);
    return r;
}

/* Columns [from, to_col) of all rows: each word row holds `per` of them. */
static int read_strip_by_cols(const struct window *w, int64_t from, int64_t end, uint32_t *words,
                              unsigned char *to, size_t stride)
{
    const int32_t per = w->tensor->per, bits = 32 / per;
    const uint32_t mask = (1u << bits) - 1;
    const int64_t first = from / per, num = (end + per - 1) / per - first;
    int r = 0;
    for (int64_t i = 0; r == 0 && i < num; i++)
        r = read_at(w, &w->tensor->values, (first + i) * w->tensor->rows + w->row, w->num_rows,
                    sizeof(*words), words + i * w->num_rows);
    for (int64_t n = 0; r == 0 && n < w->num_rows; n++)
        for (int64_t k = from; k < end; k++)
            to[(size_t)n * stride + (size_t)(k - w->col)] =
                (unsigned char)(words[(k / per - first) * w->num_rows + n] >> bits * (k % per) &
                                mask);
    return r;
}

/* The same where a word row is one column, and a word holds eight rows. */
static int read_strip_by_rows(const struct window *w, int64_t from, int64_t end, uint32_t *words,
                              unsigned char *to, size_t stride)
{
    const int64_t width = w->tensor->rows / 8, first = w->row / 8;
    const int64_t num = (w->row + w->num_rows + 7) / 8 - first;
    int r = 0;
    for (int64_t k = from; r == 0 && k < end; k++)
        r = read_at(w, &w->tensor->values, k * width + first, num, sizeof(*words),
                    words + (k - from) * num);
    for (int64_t n = 0; r == 0 && n < w->num_rows; n++) {
        const int64_t place = awq_place(w->row + n) - 8 * first;
        for (int64_t k = from; k < end; k++)
            to[(size_t)n * stride + (size_t)(k - w->col)] =
                (unsigned char)value_of(words + (k - from) * num, place, 8);
    }
    return r;
}

static int read_strips(const struct window *w, unsigned char *to, size_t stride)
{
    const int64_t end = w->col + w->num_cols;
    const bool by_cols = w->tensor->packing == QUANT_BY_COLS;
    /* A word row of all rows for each `per` columns; or for each column one of an eighth. */
    uint32_t *words = malloc((size_t)(w->num_rows + 16) * (STRIP / 4 + 1) * sizeof(*words));
    int r = words == NULL ? -ENOMEM : 0;
    for (int64_t k = w->col; r == 0 && k < end;) {
        const int64_t next = k - k % STRIP + STRIP < end ? k - k % STRIP + STRIP : end;
        r = (by_cols ? read_strip_by_cols : read_strip_by_rows)(w, k, next, words, to, stride);
        k = next;
    }
    free(words);
    return r;
}

/* --- what would be read ----------------------------------------------------------------------- */

static void add(struct read_list *list, const struct checkpoint_tensor *tensor, int64_t first,
                int64_t num, size_t size)
{
    read_list_add(list, tensor->file->fd,
                  tensor->file->data_begin + tensor->info->begin + (uint64_t)first * size,
                  (size_t)num * size);
}

static void list_values(const struct window *w, struct read_list *list)
{
    const struct quant_tensor *t = w->tensor;
    const int64_t per = t->packing == QUANT_BYTES ? 1 : t->per;
    const int64_t width = (t->cols + per - 1) / per, col = w->col / per;
    const int64_t cols = (w->col + w->num_cols + per - 1) / per - col;
    switch (t->packing) {
    case QUANT_BYTES:
    case QUANT_IN_ORDER:
        for (int64_t i = 0; i < w->num_rows; i++)
            add(list, &t->values, (w->row + i) * width + col, cols,
                t->packing == QUANT_BYTES ? 1 : sizeof(uint32_t));
        return;
    case QUANT_BY_COLS:
        for (int64_t i = 0; i < cols; i++)
            add(list, &t->values, (col + i) * t->rows + w->row, w->num_rows, sizeof(uint32_t));
        return;
    case QUANT_BY_ROWS:
        for (int64_t k = w->col; k < w->col + w->num_cols; k++)
            add(list, &t->values, k * (t->rows / 8) + w->row / 8,
                (w->row + w->num_rows + 7) / 8 - w->row / 8, sizeof(uint32_t));
        return;
    }
}

/* Zeros are few and are read when they are wanted. */
static void list_scales(const struct window *w, struct read_list *list)
{
    const struct quant_tensor *t = w->tensor;
    const size_t size = (size_t)t->scales.info->dtype->bits / 8;
    const int64_t groups = t->num_groups, first = w->row / t->scale_rows;
    const int64_t num = (w->row + w->num_rows - 1) / t->scale_rows - first + 1;
    if (!t->scales_by_group)
        add(list, &t->scales, first * groups, num * groups, size);
    for (int64_t g = 0; t->scales_by_group && g < groups; g++)
        add(list, &t->scales, g * t->rows + w->row, num, size);
}

static int read_values(const struct window *w, unsigned char *to, size_t stride)
{
    int r = 0;
    switch (w->tensor->packing) {
    case QUANT_BYTES:
        r = read_bytes(w, to, stride);
        break;
    case QUANT_IN_ORDER:
        r = read_in_order(w, to, stride);
        break;
    case QUANT_BY_COLS:
    case QUANT_BY_ROWS:
        r = read_strips(w, to, stride);
        break;
    }
    for (int64_t i = 0; r == 0 && w->tensor->is_offset && i < w->num_rows; i++)
        for (int64_t k = 0; k < w->num_cols; k++)
            to[(size_t)i * stride + (size_t)k] ^= 0x80;
    return r;
}

/* --- scales and zeros: [num_rows][num_groups] of all the tensor's groups ---------------------- */

static float float_of(const char *dtype, const unsigned char *bytes)
{
    uint16_t half;
    float value;
    if (strcmp(dtype, "F32") == 0) {
        memcpy(&value, bytes, sizeof(value));
        return value;
    }
    if (strcmp(dtype, "F8_E8M0") == 0) /* 255 is NaN */
        return bytes[0] == 255 ? NAN : ldexpf(1.0f, bytes[0] - 127);
    memcpy(&half, bytes, sizeof(half));
    return strcmp(dtype, "F16") == 0 ? half_from_f16(half) : half_from_bf16(half);
}

static int read_scales(const struct window *w, float *to)
{
    const struct quant_tensor *t = w->tensor;
    const struct safetensors_dtype *dtype = t->scales.info->dtype;
    const size_t size = (size_t)dtype->bits / 8;
    const int64_t groups = t->num_groups;
    const int64_t first = w->row / t->scale_rows;
    const int64_t num = (w->row + w->num_rows - 1) / t->scale_rows - first + 1;
    unsigned char *bytes = malloc((size_t)(num * groups) * size);
    int r = bytes == NULL ? -ENOMEM : 0;
    if (r == 0 && !t->scales_by_group)
        r = read_at(w, &t->scales, first * groups, num * groups, size, bytes);
    for (int64_t g = 0; r == 0 && t->scales_by_group && g < groups; g++)
        r = read_at(w, &t->scales, g * t->rows + w->row, num, size,
                    bytes + (size_t)(g * num) * size);
    for (int64_t i = 0; r == 0 && i < w->num_rows; i++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t n = (w->row + i) / t->scale_rows - first;
            const int64_t at = t->scales_by_group ? g * num + n : n * groups + g;
            to[i * groups + g] = float_of(dtype->name, bytes + (size_t)at * size);
        }
    free(bytes);
    return r;
}

/* GPTQ and AWQ: [groups][rows / per]. */
static int read_zeros_by_group(const struct window *w, unsigned char *to)
{
    const struct quant_tensor *t = w->tensor;
    const int64_t width = t->rows / t->per, first = w->row / t->per;
    const int64_t num = (w->row + w->num_rows + t->per - 1) / t->per - first;
    const uint32_t mask = (1u << 32 / t->per) - 1;
    uint32_t *words = malloc((size_t)num * sizeof(*words));
    int r = words == NULL ? -ENOMEM : 0;
    for (int64_t g = 0; r == 0 && g < t->num_groups; g++) {
        r = read_at(w, &t->zeros, g * width + first, num, sizeof(*words), words);
        for (int64_t i = 0; r == 0 && i < w->num_rows; i++) {
            const int64_t n = w->row + i;
            const int64_t place = t->packing == QUANT_BY_ROWS ? awq_place(n) : n;
            const uint32_t zero = value_of(words, place - first * t->per, t->per);
            to[i * t->num_groups + g] = (unsigned char)((zero + t->adds_one) & mask);
        }
    }
    free(words);
    return r;
}

/* compressed-tensors: a word holds neighbouring rows, [rows / per][groups]. */
static int read_zeros_by_row(const struct window *w, unsigned char *to)
{
    const struct quant_tensor *t = w->tensor;
    const int64_t groups = t->num_groups, first = w->row / t->per;
    const int64_t num = (w->row + w->num_rows + t->per - 1) / t->per - first;
    uint32_t *words = malloc((size_t)(num * groups) * sizeof(*words));
    int r = words == NULL ? -ENOMEM : 0;
    if (r == 0)
        r = read_at(w, &t->zeros, first * groups, num * groups, sizeof(*words), words);
    for (int64_t i = 0; r == 0 && i < w->num_rows; i++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t n = w->row + i;
            to[i * groups + g] = (unsigned char)value_of(words + (n / t->per - first) * groups + g,
                                                         n % t->per, t->per);
        }
    free(words);
    return r;
}

/* Signed bytes: one for the tensor, or [rows][groups]. */
static int read_zeros_bytes(const struct window *w, unsigned char *to)
{
    const struct quant_tensor *t = w->tensor;
    const size_t num = (size_t)w->num_rows * (size_t)t->num_groups;
    if (t->scale_rows == 1)
        return read_at(w, &t->zeros, w->row * t->num_groups, (int64_t)num, 1, to);
    const int r = read_at(w, &t->zeros, 0, 1, 1, to);
    if (r == 0)
        memset(to, to[0], num);
    return r;
}

static int read_zeros(const struct window *w, unsigned char *to)
{
    const struct quant_tensor *t = w->tensor;
    const size_t num = (size_t)w->num_rows * (size_t)t->num_groups;
    if (t->zeros.info == NULL) {
        memset(to, t->dtype == DTYPE_I4 ? 8 : 0, num);
        return 0;
    }
    const int r = (t->packing == QUANT_BYTES      ? read_zeros_bytes
                   : t->packing == QUANT_IN_ORDER ? read_zeros_by_row
                                                  : read_zeros_by_group)(w, to);
    for (size_t i = 0; r == 0 && t->is_offset && i < num; i++)
        to[i] ^= 0x80;
    return r;
}

/* --- rows ----------------------------------------------------------------------------------- */

/* Scales and zeros of a window's rows. */
struct heads {
    float *scales;
    unsigned char *zeros;
};

static void free_heads(struct heads *heads)
{
    free(heads->scales);
    free(heads->zeros);
}

static int read_heads(const struct window *w, struct heads *heads)
{
    const size_t num = (size_t)w->num_rows * (size_t)w->tensor->num_groups;
    heads->scales = malloc(num * sizeof(*heads->scales));
    heads->zeros = malloc(num);
    int r = heads->scales == NULL || heads->zeros == NULL ? -ENOMEM : 0;
    if (r == 0)
        r = read_scales(w, heads->scales);
    return r < 0 ? r : read_zeros(w, heads->zeros);
}

/* As the backend takes them. */
static int read_loaded(const struct window *w, const struct quant_groups *groups, unsigned char *to)
{
    const struct scaling *scaling = &groups->scaling;
    const size_t stride = scaling_row_bytes(scaling, (int32_t)w->num_cols);
    struct heads heads = { NULL, NULL };
    int r = read_values(w, to, stride);
    if (r == 0)
        r = read_heads(w, &heads);
    for (int64_t i = 0; r == 0 && i < w->num_rows; i++) {
        unsigned char *scales = to + (size_t)i * stride + (size_t)w->num_cols;
        unsigned char *zeros = scales + (size_t)scaling->num_groups * sizeof(float);
        for (int32_t g = 0; g < scaling->num_groups; g++) {
            const int64_t at = i * w->tensor->num_groups + groups->ids[g];
            memcpy(scales + (size_t)g * sizeof(float), &heads.scales[at], sizeof(float));
            if (scaling->has_zeros)
                zeros[g] = heads.zeros[at];
        }
    }
    free_heads(&heads);
    return r;
}

static float number_of(enum dtype dtype, unsigned char q)
{
    return dtype == DTYPE_F8_E4M3 ? e4m3_decode(q)
           : dtype == DTYPE_I8    ? (float)(int8_t)q
                                  : (float)q;
}

/* What they mean. */
static int read_floats(const struct window *w, float *to)
{
    const struct quant_tensor *t = w->tensor;
    const size_t cols = (size_t)w->num_cols;
    unsigned char *q = malloc((size_t)w->num_rows * cols);
    struct heads heads = { NULL, NULL };
    int r = q == NULL ? -ENOMEM : read_values(w, q, cols);
    if (r == 0)
        r = read_heads(w, &heads);
    for (size_t i = 0; r == 0 && i < (size_t)w->num_rows * cols; i++) {
        const int64_t k = w->col + (int64_t)(i % cols);
        const int64_t g = t->groups != NULL ? t->groups[k] : k / t->group_cols;
        const int64_t at = (int64_t)(i / cols) * t->num_groups + g;
        const unsigned char zero = heads.zeros[at];
        to[i] = heads.scales[at] * (number_of(t->dtype, q[i]) -
                                    (t->dtype == DTYPE_F8_E4M3 ? 0.0f : number_of(t->dtype, zero)));
    }
    free_heads(&heads);
    free(q);
    return r;
}

/* The transpose of a window. */
static int read_turned(const struct window *w, float *to)
{
    float *values = malloc((size_t)(w->num_rows * w->num_cols) * sizeof(*values));
    const int r = values == NULL ? -ENOMEM : read_floats(w, values);
    for (int64_t n = 0; r == 0 && n < w->num_cols; n++)
        for (int64_t k = 0; k < w->num_rows; k++)
            to[n * w->num_rows + k] = values[k * w->num_cols + n];
    free(values);
    return r;
}

/* Of the tensor: of a part that is turned its columns are rows. */
static struct window window_of(const struct loader_part *part, int32_t cols, int32_t row,
                               int32_t num_rows)
{
    const struct quant_tensor *t = part->tensor->info->quant;
    const int64_t skipped = part->offset / t->cols; /* rows of the blocks before */
    return part->turned ? (struct window){ .tensor = t,
                                           .row = part->tensor_col + skipped,
                                           .num_rows = cols,
                                           .col = part->tensor_row + row,
                                           .num_cols = num_rows }
                        : (struct window){ .tensor = t,
                                           .row = part->tensor_row + row + skipped,
                                           .num_rows = num_rows,
                                           .col = part->tensor_col,
                                           .num_cols = cols };
}

int quant_read(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
               enum dtype as, const struct read_window *ahead, void *buffer)
{
    struct window w = window_of(part, cols, row, num_rows);
    w.ahead = ahead;
    if (part->turned)
        return read_turned(&w, buffer);
    return as == DTYPE_F32 ? read_floats(&w, buffer) : read_loaded(&w, part->groups, buffer);
}

void quant_list(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                struct read_list *list)
{
    const struct window w = window_of(part, cols, row, num_rows);
    list_values(&w, list);
    list_scales(&w, list);
}
