#include "worker/model/tensor_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "worker/model/quant_read.h"
#include "worker/model/requant.h"

uint64_t tensor_stored_bytes(const struct safetensors_dtype *dtype, uint64_t num)
{
    const struct block_info *block = dtype->block;
    if (dtype_is_scaled(dtype->dtype))
        return num * (uint64_t)dtype->bits / 8;
    return block != NULL ? num / (uint64_t)block->elements * (uint64_t)block->bytes
                         : num * dtype_bytes(dtype->dtype);
}

/* A part, and what of its file is in memory already. */
struct source {
    const struct loader_part *part;
    const struct read_window *window; /* may be NULL */
};

/* Where byte `offset` of the tensor lies in its file. */
static uint64_t place_in_file(const struct checkpoint_tensor *tensor, uint64_t offset)
{
    return tensor->file->data_begin + tensor->info->begin + offset;
}

/* Values of the tensor from `first` on, as they are stored. */
static int read_stored(const struct source *source, uint64_t first, uint64_t num, void *to)
{
    const struct checkpoint_tensor *tensor = source->part->tensor;
    const struct safetensors_dtype *dtype = tensor->info->dtype;
    const uint64_t offset = tensor_stored_bytes(dtype, first);
    const size_t bytes = (size_t)tensor_stored_bytes(dtype, num);
    if (read_window_get(source->window, tensor->file->fd, place_in_file(tensor, offset), to, bytes))
        return 0;
    return safetensors_read(tensor->file, tensor->info, offset, to, bytes);
}

static int32_t min_rows(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Rows of a part whose transpose lies in the file: column by column, some rows at a time. */
static int read_turned(const struct source *source, size_t cols, int32_t row, int32_t num_rows,
                       char *to)
{
    enum { ROWS = 1024 };
    const struct loader_part *part = source->part;
    const size_t size = dtype_bytes(part->tensor->info->dtype->dtype);
    char column[ROWS * sizeof(float)];
    int r = 0;
    for (int32_t i = 0; i < num_rows; i += ROWS)
        for (size_t c = 0; r == 0 && c < cols; c++) {
            const int32_t num = min_rows(ROWS, num_rows - i);
            const uint64_t first = (uint64_t)part->offset + (uint64_t)(part->tensor_row + row + i) +
                                   ((uint64_t)part->tensor_col + c) * (uint64_t)part->tensor_cols;
            r = read_stored(source, first, (uint64_t)num, column);
            for (int32_t n = 0; r == 0 && n < num; n++)
                memcpy(to + ((size_t)(i + n) * cols + c) * size, column + (size_t)n * size, size);
        }
    return r;
}

/* Where a row lies in the file: interleaved, row j head / 2 + i of a head is its row 2 i + j. */
static int64_t stored_row(const struct safetensors_tensor *info, int64_t row)
{
    const int64_t half = info->head_rows / 2;
    if (half == 0)
        return row;
    const int64_t in_head = row % (2 * half);
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

/* The first value of row `row` of a part. */
static uint64_t row_begin(const struct loader_part *part, size_t cols, int32_t row)
{
    const uint64_t width = part->tensor_cols > 0 ? (uint64_t)part->tensor_cols : cols;
    const int64_t in_file = stored_row(part->tensor->info, part->tensor_row + row);
    return (uint64_t)part->offset + (uint64_t)in_file * width + (uint64_t)part->tensor_col;
}

/* Has the part all columns of the tensor? */
static bool has_whole_rows(const struct loader_part *part, size_t cols)
{
    return part->tensor_cols == 0 || (size_t)part->tensor_cols == cols;
}

/* All that the rows need, where it lies in one piece: of interleaved ones their whole heads. */
static bool find_span(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                      struct read_piece *ret_piece)
{
    const struct safetensors_tensor *info = part->tensor->info;
    const struct block_info *block = info->dtype->block;
    const int64_t head = info->head_rows > 0 ? info->head_rows : 1;
    const int64_t first = ((int64_t)part->tensor_row + row) / head * head;
    const int64_t end = ((int64_t)part->tensor_row + row + num_rows + head - 1) / head * head;
    if (part->turned || info->quant != NULL || !has_whole_rows(part, (size_t)cols) ||
        (block != NULL && cols % block->elements != 0))
        return false;
    const uint64_t at = (uint64_t)part->offset + (uint64_t)first * (uint64_t)cols;
    const uint64_t num = (uint64_t)(end - first) * (uint64_t)cols;
    *ret_piece = (struct read_piece){ .begin = place_in_file(part->tensor,
                                                             tensor_stored_bytes(info->dtype, at)),
                                      .bytes = (size_t)tensor_stored_bytes(info->dtype, num) };
    return true;
}

/* Values from `first` on, with the blocks that hold them. */
static void add_values(struct read_list *list, const struct checkpoint_tensor *tensor,
                       uint64_t first, uint64_t num)
{
    const struct safetensors_dtype *dtype = tensor->info->dtype;
    const uint64_t block = dtype->block != NULL ? (uint64_t)dtype->block->elements : 1;
    const uint64_t begin = first / block * block;
    const uint64_t end = (first + num + block - 1) / block * block;
    read_list_add(list, tensor->file->fd, place_in_file(tensor, tensor_stored_bytes(dtype, begin)),
                  (size_t)tensor_stored_bytes(dtype, end - begin));
}

void tensor_list(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                 struct read_list *list)
{
    struct read_piece piece;
    if (part->tensor->info->quant != NULL) {
        quant_list(part, cols, row, num_rows, list);
    } else if (part->turned) {
        for (int32_t c = 0; c < cols; c++)
            add_values(list, part->tensor,
                       (uint64_t)part->offset + (uint64_t)(part->tensor_row + row) +
                           (uint64_t)(part->tensor_col + c) * (uint64_t)part->tensor_cols,
                       (uint64_t)num_rows);
    } else if (find_span(part, cols, row, num_rows, &piece)) {
        read_list_add(list, part->tensor->file->fd, piece.begin, piece.bytes);
    } else {
        for (int32_t i = 0; i < num_rows; i++)
            add_values(list, part->tensor, row_begin(part, (size_t)cols, row + i), (uint64_t)cols);
    }
}

static int read_row_by_row(const struct source *source, size_t cols, int32_t row, int32_t num_rows,
                           char *to)
{
    const struct loader_part *part = source->part;
    const size_t bytes = (size_t)tensor_stored_bytes(part->tensor->info->dtype, cols);
    int r = 0;
    for (int32_t i = 0; r == 0 && i < num_rows; i++)
        r = read_stored(source, row_begin(part, cols, row + i), cols, to + (size_t)i * bytes);
    return r;
}

/* Interleaved rows from one read of all their heads. */
static int read_heads(const struct loader_part *part, size_t cols, int32_t row, int32_t num_rows,
                      char *to)
{
    const struct checkpoint_tensor *tensor = part->tensor;
    struct read_piece piece;
    const struct read_window window = { tensor->file->fd, 1, &piece };
    if (!find_span(part, (int32_t)cols, row, num_rows, &piece))
        return read_row_by_row(&(struct source){ .part = part }, cols, row, num_rows, to);
    char *heads = malloc(piece.bytes);
    if (heads == NULL)
        return -ENOMEM;
    piece.data = (const unsigned char *)heads;
    int r = safetensors_read(tensor->file, tensor->info, piece.begin - place_in_file(tensor, 0),
                             heads, piece.bytes);
    if (r == 0)
        r = read_row_by_row(&(struct source){ part, &window }, cols, row, num_rows, to);
    free(heads);
    return r;
}

/* Rows of a part, as they are stored: in one piece, or row by row when columns are cut. */
static int read_rows(const struct source *source, size_t cols, int32_t row, int32_t num_rows,
                     char *to)
{
    const struct loader_part *part = source->part;
    const bool has_window = source->window != NULL && source->window->fd >= 0;
    if (part->tensor->info->head_rows > 0 && !has_window)
        return read_heads(part, cols, row, num_rows, to);
    if (part->tensor->info->head_rows > 0 || !has_whole_rows(part, cols))
        return read_row_by_row(source, cols, row, num_rows, to);
    return read_stored(source, row_begin(part, cols, row), (uint64_t)num_rows * cols, to);
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
        to[i] = dtype == DTYPE_F16 ? half_from_f16(half) : half_from_bf16(half);
    }
}

static void widen_blocks(const struct block_info *block, float *to, const char *from, size_t num)
{
    const size_t size = (size_t)block->bytes, elements = (size_t)block->elements;
    unsigned char copy[512]; /* the last block lies under its own values */
    for (size_t i = 0; i < num / elements; i++) {
        memcpy(copy, from + i * size, size);
        block->widen(copy, to + i * elements);
    }
}

static void narrow(void *buffer, size_t num)
{
    const float *from = buffer;
    unsigned char *to = buffer;
    for (size_t i = 0; i < num; i++) {
        const uint16_t half = half_to_f16(from[i]);
        memcpy(to + 2 * i, &half, sizeof(half));
    }
}

/* Columns that begin or end within a block: row by row, through whole blocks. */
static int read_cut(const struct source *source, size_t cols, int32_t row, int32_t num_rows,
                    float *to)
{
    const struct loader_part *part = source->part;
    const struct block_info *block = part->tensor->info->dtype->block;
    const uint64_t elements = (uint64_t)block->elements;
    const uint64_t skip = (uint64_t)part->tensor_col % elements;
    const uint64_t num = (skip + cols + elements - 1) / elements * elements;
    float *whole = malloc((size_t)num * sizeof(float));
    int r = whole == NULL ? -ENOMEM : 0;
    for (int32_t i = 0; r == 0 && i < num_rows; i++) {
        const uint64_t bytes = tensor_stored_bytes(part->tensor->info->dtype, num);
        char *stored = (char *)whole + (num * sizeof(float) - bytes);
        r = read_stored(source, row_begin(part, cols, row + i) - skip, num, stored);
        if (r == 0) {
            widen_blocks(block, whole, stored, (size_t)num);
            memcpy(to + (size_t)i * cols, whole + skip, cols * sizeof(float));
        }
    }
    free(whole);
    return r;
}

/* The transpose of rows that are stored in blocks: those that hold the columns, some at a time. */
static int read_turned_blocks(const struct source *source, size_t cols, int32_t row,
                              int32_t num_rows, float *to)
{
    enum { ROWS = 1024, MOST = 512 }; /* of elements and bytes of a block */
    const struct loader_part *part = source->part;
    const struct safetensors_dtype *dtype = part->tensor->info->dtype;
    const int32_t elements = dtype->block->elements;
    float whole[ROWS + 2 * MOST];
    int r = 0;
    for (int32_t i = 0; i < num_rows; i += ROWS)
        for (size_t c = 0; r == 0 && c < cols; c++) {
            const int32_t num = min_rows(ROWS, num_rows - i), at = part->tensor_row + row + i;
            const int32_t skip = at % elements, end = (at + num + elements - 1) / elements;
            const uint64_t values = (uint64_t)(end - at / elements) * (uint64_t)elements;
            const uint64_t first = (uint64_t)part->offset + (uint64_t)(at - skip) +
                                   ((uint64_t)part->tensor_col + c) * (uint64_t)part->tensor_cols;
            char *stored = (char *)(whole + values) - tensor_stored_bytes(dtype, values);
            r = read_stored(source, first, values, stored);
            if (r == 0)
                widen_blocks(dtype->block, whole, stored, (size_t)values);
            for (int32_t n = 0; r == 0 && n < num; n++)
                to[(size_t)(i + n) * cols + c] = whole[skip + n];
        }
    return r;
}

static int read_blocks(const struct source *source, size_t cols, int32_t row, int32_t num_rows,
                       float *to)
{
    const struct loader_part *part = source->part;
    const struct safetensors_dtype *dtype = part->tensor->info->dtype;
    const size_t elements = (size_t)dtype->block->elements, num = (size_t)num_rows * cols;
    if (part->turned)
        return read_turned_blocks(source, cols, row, num_rows, to);
    if (cols % elements != 0 || (size_t)part->tensor_col % elements != 0)
        return read_cut(source, cols, row, num_rows, to);
    char *at = (char *)to + (num * sizeof(float) - tensor_stored_bytes(dtype, num));
    const int r = read_rows(source, cols, row, num_rows, at);
    if (r == 0)
        widen_blocks(dtype->block, to, at, num);
    return r;
}

/* Rounded while loading. F16 of blocks is what they are widened to. */
static bool is_made(enum dtype as, const struct safetensors_dtype *dtype)
{
    return dtype_is_quant(as) || as == DTYPE_F8_E4M3 || (as == DTYPE_F16 && dtype->block == NULL);
}

int tensor_read(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                enum dtype as, const struct read_window *window, void *buffer)
{
    const struct source source = { part, window };
    const struct safetensors_dtype *dtype = part->tensor->info->dtype;
    const size_t width = (size_t)cols, num = (size_t)num_rows * width;
    int r;
    if (part->tensor->info->quant != NULL)
        return quant_read(part, cols, row, num_rows, as, window, buffer);
    if (as != dtype->dtype && is_made(as, dtype)) {
        r = tensor_read(part, cols, row, num_rows, DTYPE_F32, window, buffer);
        return r < 0 ? r : requant_rows(as, num_rows, cols, buffer);
    }
    if (dtype_is_quant(as))
        return read_rows(&source, width, row, num_rows, buffer);
    if (dtype->block != NULL) {
        r = read_blocks(&source, width, row, num_rows, buffer);
        if (r == 0 && as == DTYPE_F16)
            narrow(buffer, num);
        return r;
    }
    const size_t room = as != dtype->dtype ? sizeof(float) - dtype_bytes(dtype->dtype) : 0;
    char *at = (char *)buffer + num * room;
    r = (part->turned ? read_turned : read_rows)(&source, width, row, num_rows, at);
    if (r == 0 && as != dtype->dtype)
        widen(dtype->dtype, buffer, at, num);
    return r;
}

const unsigned char *tensor_find(const struct loader_part *part, int32_t cols, int32_t row,
                                 int32_t num_rows, enum dtype as, const struct read_window *window,
                                 size_t *ret_stride)
{
    const struct checkpoint_tensor *tensor = part->tensor;
    const struct safetensors_dtype *dtype = tensor->info->dtype;
    const size_t bytes = (size_t)tensor_stored_bytes(dtype, (uint64_t)cols);
    const unsigned char *first = NULL;
    if (tensor->info->quant != NULL || dtype->block != NULL || part->turned || as != dtype->dtype)
        return NULL;
    *ret_stride = bytes;
    for (int32_t i = 0; i < num_rows; i++) {
        const uint64_t value = row_begin(part, (size_t)cols, row + i);
        const uint64_t at = place_in_file(tensor, tensor_stored_bytes(dtype, value));
        const unsigned char *found = read_window_find(window, tensor->file->fd, at, bytes);
        if (i == 0)
            first = found;
        else if (i == 1 && found > first)
            *ret_stride = (size_t)(found - first);
        if (found == NULL || found != first + (size_t)i * *ret_stride)
            return NULL;
    }
    return first;
}
