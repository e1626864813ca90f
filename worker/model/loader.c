#include "worker/model/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "worker/model/tensor_read.h"

enum { PANEL_ROWS = 32, BLOCK_BYTES = 4 << 20, QUANT_BLOCK_BYTES = 16 << 20, MAX_THREADS = 16 };

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

static int32_t min_rows(int32_t a, int32_t b)
{
    return a < b ? a : b;
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
    const uint64_t num = (uint64_t)(end - begin) * (uint64_t)matrix->cols;
    const int r = tensor_read(part, matrix->cols, begin - part->first_row, end - begin,
                              matrix->dtype, buffer);
    if (r < 0)
        return r;
    load->backend->weight_load(matrix->weight, begin, end - begin, buffer);
    if (load->progress_bytes != NULL)
        atomic_fetch_add(load->progress_bytes, tensor_stored_bytes(part->tensor->info->dtype, num));
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

/* Of a row in the buffer. */
static size_t row_room(const struct loader_matrix *matrix)
{
    const size_t floats = (size_t)matrix->cols * sizeof(float);
    return matrix->row_bytes > 0 ? matrix->row_bytes : floats;
}

/* Quantized rows may lie across the file: more of them at once are longer pieces. */
static int32_t block_rows(const struct loader_matrix *matrix)
{
    const int64_t panel_bytes = PANEL_ROWS * (int64_t)row_room(matrix);
    const int64_t panels = (matrix->row_bytes > 0 ? QUANT_BLOCK_BYTES : BLOCK_BYTES) / panel_bytes;
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
    const size_t bytes = (size_t)rows * row_room(matrix);
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
    const int r = tensor_read(part, 1, 0, part->num_rows, DTYPE_F32, to + part->first_row);
    return r < 0 ? fail(r, part, err) : 0;
}
