#include "worker/model/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL_ROWS = 32, BLOCK_BYTES = 4 << 20, MAX_THREADS = 16 };

struct block {
    const struct loader_matrix *matrix;
    int32_t first_row, num_rows;
};

struct load {
    const struct backend *backend;
    const struct block *blocks;
    int32_t num_blocks;
    size_t buffer_bytes; /* of the greatest block, as f32 */
    _Atomic int32_t next;
    _Atomic int32_t result; /* the first error, or 0 */
    _Atomic(const struct loader_part *) failed_part;
    _Atomic uint64_t *progress_bytes;
};

static float half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000U) << 16;
    const uint32_t rest = half & 0x7FFFU;
    uint32_t bits;
    float value;
    if (rest >= 0x7C00U) /* infinite, or not a number */
        bits = 0x7F800000U | (rest & 0x3FFU) << 13;
    else if (rest >= 0x400U)
        bits = (rest << 13) + ((127U - 15U) << 23);
    else {
        value = (float)rest * 0x1p-24f; /* exact */
        memcpy(&bits, &value, sizeof(bits));
    }
    bits |= sign;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float bfloat_to_float(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Widen in place: the values lie at the end of the buffer's `num` floats. */
static void widen(enum dtype dtype, float *to, const void *from, size_t num)
{
    const unsigned char *bytes = from;
    if (dtype == DTYPE_F32)
        return;
    for (size_t i = 0; i < num; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof(half));
        to[i] = dtype == DTYPE_F16 ? half_to_float(half) : bfloat_to_float(half);
    }
}

static int32_t min_rows(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Rows of a part whose transpose lies in the file: column by column, some rows at a time. */
static int read_turned(const struct loader_part *part, size_t cols, int32_t row, int32_t num_rows,
                       char *to)
{
    enum { ROWS = 1024 };
    const struct checkpoint_tensor *tensor = part->tensor;
    const size_t size = dtype_bytes(tensor->info->dtype->dtype);
    char column[ROWS * sizeof(float)];
    int r = 0;
    for (int32_t i = 0; i < num_rows; i += ROWS)
        for (size_t c = 0; r == 0 && c < cols; c++) {
            const int32_t num = min_rows(ROWS, num_rows - i);
            const uint64_t first = (uint64_t)part->offset + (uint64_t)(part->tensor_row + row + i) +
                                   ((uint64_t)part->tensor_col + c) * (uint64_t)part->tensor_cols;
            r = safetensors_read(tensor->file, tensor->info, first * size, column,
                                 (size_t)num * size);
            for (int32_t n = 0; r == 0 && n < num; n++)
                memcpy(to + ((size_t)(i + n) * cols + c) * size, column + (size_t)n * size, size);
        }
    return r;
}

/* Rows of a part, as they lie in the file: in one piece, or row by row when columns are cut. */
static int read_pieces(const struct loader_part *part, size_t cols, int32_t row, int32_t num_rows,
                       char *to)
{
    const struct checkpoint_tensor *tensor = part->tensor;
    const size_t size = dtype_bytes(tensor->info->dtype->dtype);
    const size_t width = part->tensor_cols > 0 ? (size_t)part->tensor_cols : cols;
    const bool is_whole = width == cols;
    const size_t bytes = (is_whole ? (size_t)num_rows * cols : cols) * size;
    int r = 0;
    for (int32_t i = 0; r == 0 && i < (is_whole ? 1 : num_rows); i++) {
        const uint64_t first = (uint64_t)part->offset +
                               (uint64_t)(part->tensor_row + row + i) * width +
                               (uint64_t)part->tensor_col;
        r = safetensors_read(tensor->file, tensor->info, first * size, to + (size_t)i * bytes,
                             bytes);
    }
    return r;
}

/* Read rows [row, row + num_rows) of a part to the start of `buffer`, as f32 when asked. */
static int read_values(const struct loader_part *part, size_t cols, int32_t row, int32_t num_rows,
                       bool as_float, void *buffer)
{
    const enum dtype dtype = part->tensor->info->dtype->dtype;
    const size_t size = dtype_bytes(dtype), num = (size_t)num_rows * cols;
    char *at = as_float ? (char *)buffer + num * (sizeof(float) - size) : buffer;
    const int r = (part->turned ? read_turned : read_pieces)(part, cols, row, num_rows, at);
    if (r == 0 && as_float)
        widen(dtype, buffer, at, num);
    return r;
}

/* The rows of a block that lie in one part. */
static int load_rows(struct load *load, const struct block *block, const struct loader_part *part,
                     void *buffer)
{
    const struct loader_matrix *matrix = block->matrix;
    const int32_t begin = block->first_row > part->first_row ? block->first_row : part->first_row;
    const int32_t end =
        min_rows(block->first_row + block->num_rows, part->first_row + part->num_rows);
    if (begin >= end)
        return 0;
    const enum dtype dtype = part->tensor->info->dtype->dtype;
    const size_t cols = (size_t)matrix->cols, num = (size_t)(end - begin) * cols;
    const int r = read_values(part, cols, begin - part->first_row, end - begin,
                              dtype != matrix->dtype, buffer);
    if (r < 0)
        return r;
    load->backend->weight_load(matrix->weight, begin, end - begin, buffer);
    if (load->progress_bytes != NULL)
        atomic_fetch_add(load->progress_bytes, num * dtype_bytes(dtype));
    return 0;
}

static void note_failure(struct load *load, int result, const struct loader_part *part)
{
    int32_t none = 0;
    if (atomic_compare_exchange_strong(&load->result, &none, result))
        atomic_store(&load->failed_part, part);
}

static void load_block(struct load *load, const struct block *block, void *buffer)
{
    const struct loader_matrix *matrix = block->matrix;
    for (int32_t p = 0; p < matrix->num_parts; p++) {
        const int r = load_rows(load, block, &matrix->parts[p], buffer);
        if (r < 0)
            note_failure(load, r, &matrix->parts[p]);
    }
}

static void *load_blocks(void *argument)
{
    struct load *load = argument;
    void *buffer = malloc(load->buffer_bytes);
    if (buffer == NULL)
        note_failure(load, -ENOMEM, NULL);
    while (atomic_load(&load->result) == 0) {
        const int32_t i = atomic_fetch_add(&load->next, 1);
        if (i >= load->num_blocks)
            break;
        load_block(load, &load->blocks[i], buffer);
    }
    free(buffer);
    return NULL;
}

static void run_threads(struct load *load, int32_t num_threads)
{
    pthread_t threads[MAX_THREADS];
    int32_t num = 0;
    num_threads = min_rows(min_rows(num_threads, load->num_blocks), MAX_THREADS);
    while (num < num_threads - 1 && pthread_create(&threads[num], NULL, load_blocks, load) == 0)
        num++; /* fewer are as good, only slower */
    load_blocks(load);
    while (num > 0)
        pthread_join(threads[--num], NULL);
}

static int32_t block_rows(const struct loader_matrix *matrix)
{
    const int64_t panel_bytes = (int64_t)PANEL_ROWS * matrix->cols * (int64_t)sizeof(float);
    const int64_t panels = BLOCK_BYTES / panel_bytes;
    return PANEL_ROWS * (int32_t)(panels > 1 ? panels : 1);
}

static int32_t count_blocks(const struct loader_matrix *matrix)
{
    const int32_t rows = block_rows(matrix);
    return (int32_t)(((int64_t)matrix->rows + rows - 1) / rows);
}

static void cut_matrix(struct load *load, struct block *blocks, const struct loader_matrix *matrix)
{
    const int32_t rows = block_rows(matrix), num = count_blocks(matrix);
    for (int32_t i = 0; i < num; i++)
        blocks[i] = (struct block){ .matrix = matrix,
                                    .first_row = i * rows,
                                    .num_rows = min_rows(rows, matrix->rows - i * rows) };
    const size_t bytes = (size_t)rows * (size_t)matrix->cols * sizeof(float);
    load->buffer_bytes = bytes > load->buffer_bytes ? bytes : load->buffer_bytes;
}

static int fail(int result, const struct loader_part *part, struct error *err)
{
    if (part == NULL)
        return error_set(err, result, "no memory to load weights");
    return error_set(err, result, "tensor %.160s: %s", part->tensor->info->name,
                     result == -EIO ? "the file ends before it, or cannot be read"
                                    : strerror(-result));
}

int loader_run(const struct backend *backend, const struct loader_matrix *matrices,
               int32_t num_matrices, int32_t num_threads, _Atomic uint64_t *progress_bytes,
               struct error *err)
{
    struct load load = { .backend = backend, .progress_bytes = progress_bytes };
    int32_t num = 0;
    for (int32_t m = 0; m < num_matrices; m++)
        num += count_blocks(&matrices[m]);
    struct block *blocks = calloc((size_t)num + 1, sizeof(*blocks));
    if (blocks == NULL)
        return fail(-ENOMEM, NULL, err);
    for (int32_t m = 0; m < num_matrices; m++) {
        cut_matrix(&load, blocks + load.num_blocks, &matrices[m]);
        load.num_blocks += count_blocks(&matrices[m]);
    }
    load.blocks = blocks;
    run_threads(&load, num_threads);
    free(blocks);
    const int r = atomic_load(&load.result);
    return r < 0 ? fail(r, atomic_load(&load.failed_part), err) : 0;
}

int loader_read_vector(const struct loader_part *part, float *to, struct error *err)
{
    const int r = read_values(part, 1, 0, part->num_rows, true, to + part->first_row);
    return r < 0 ? fail(r, part, err) : 0;
}
