#include "convert/source.h"

#include <string.h>

#include "worker/model/tensor_read.h"

static int read_blocks(const struct convert_tensor *tensor, const struct convert_part *part,
                       int64_t row, int64_t num, float *to, void *raw)
{
    const struct block_info *info = block_info(tensor->from);
    const uint64_t blocks = (uint64_t)(tensor->dims[0] / info->elements);
    const uint64_t bytes = blocks * (uint64_t)info->bytes;
    const int r = gguf_read(part->gguf, part->stored, (uint64_t)row * bytes, raw,
                            (size_t)num * (size_t)bytes);
    if (r == 0)
        block_widen(tensor->from, raw, to, (size_t)num * (size_t)blocks);
    return r;
}

/* Whatever the loader can read, and as it reads it. */
static int read_tensor(const struct convert_tensor *tensor, const struct convert_part *part,
                       int64_t row, int64_t num, float *to)
{
    const struct safetensors_tensor *info = part->tensor->info;
    const int64_t width = info->rank > 1 ? info->shape[info->rank - 1] : 0;
    const struct loader_part from = {
        .tensor = part->tensor,
        .num_rows = (int32_t)num,
        .tensor_cols = (int32_t)width,
        .offset = part->first_row * width,
        .turned = tensor->turned,
    };
    return tensor_read(&from, (int32_t)tensor->dims[0], (int32_t)row, (int32_t)num, DTYPE_F32, NULL,
                       to);
}

/* Rows of whole heads change places. */
static void interleave(const struct convert_tensor *tensor, int64_t num, float *rows, float *room)
{
    const int64_t size = tensor->head_rows, half = size / 2,
                  cols = tensor->num_dims > 1 ? tensor->dims[0] : 1;
    for (int64_t head = 0; head < num / size; head++) {
        float *at = rows + head * size * cols;
        memcpy(room, at, (size_t)(size * cols) * sizeof(float));
        for (int64_t i = 0; i < size; i++)
            memcpy(at + i * cols, room + (i % 2 * half + i / 2) * cols,
                   (size_t)cols * sizeof(float));
    }
}

int convert_read(const struct convert_tensor *tensor, int64_t first, int64_t num, float *to,
                 void *raw)
{
    const size_t values = (size_t)num * (size_t)tensor->dims[0];
    if (tensor->values != NULL) {
        memcpy(to, tensor->values + first * tensor->dims[0], values * sizeof(float));
        return 0;
    }
    const int64_t rows = convert_rows(tensor) / tensor->num_parts;
    const struct convert_part *part = &tensor->parts[first / rows];
    const int r = part->tensor != NULL ? read_tensor(tensor, part, first % rows, num, to)
                                       : read_blocks(tensor, part, first % rows, num, to, raw);
    if (r < 0)
        return r;
    if (tensor->head_rows > 0) /* a vector is one row of values that change places */
        interleave(tensor, tensor->num_dims > 1 ? num : tensor->dims[0], to, raw);
    for (size_t i = 0; tensor->plus_one && i < values; i++)
        to[i] += 1.0f;
    return 0;
}
