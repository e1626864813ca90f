#include "worker/model/tensor_place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "worker/model/shard.h"

void tensor_place_name(const struct weight_row *row, const char *prefix, int32_t layer,
                       int32_t block, char *name, size_t size)
{
    const char *mark = strstr(row->name, "%d");
    const int before = mark != NULL ? (int)(mark - row->name) : (int)strlen(row->name);
    size_t at = (size_t)snprintf(name, size, "%s", prefix);
    if (row->in_layer && at < size)
        at += (size_t)snprintf(name + at, size - at, "layers.%d.", layer);
    if (at < size)
        at += (size_t)snprintf(name + at, size - at, "%.*s", before, row->name);
    if (mark != NULL && at < size)
        snprintf(name + at, size - at, "%d%s", block, mark + 2);
}

int32_t tensor_place_blocks(const struct weight_row *row, const struct arch *arch)
{
    return row->blocks != DIM_NONE ? family_dim(arch, row->blocks) : 1;
}

int32_t tensor_place_total(const struct weight_row *row, const struct arch *arch)
{
    const int32_t total = family_dim(arch, row->total);
    return row->blocks != DIM_NONE ? family_dim(arch, row->blocks) * block_stride(total) : total;
}

void tensor_place_describe(const struct safetensors_tensor *tensor, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "%s ", tensor->dtype->name);
    for (int32_t i = 0; i < tensor->rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "[%lld]", (long long)tensor->shape[i]);
    if (tensor->rank == 0 && at < size)
        snprintf(text + at, size - at, "[]");
}

static int32_t dim_or(const struct arch *arch, enum dim dim, enum dim other)
{
    return family_dim(arch, dim != DIM_NONE ? dim : other);
}

/* Sizes of the tensor, outermost first; returns how many. */
static int32_t make_shape(const struct weight_row *row, const struct arch *whole, int64_t shape[3])
{
    const int64_t rows = dim_or(whole, row->in_rows, row->rows);
    const int64_t cols = dim_or(whole, row->in_cols, row->cols);
    const bool many = row->blocks != DIM_NONE && strstr(row->name, "%d") == NULL;
    const int64_t blocks = many ? tensor_place_blocks(row, whole) : 1;
    int32_t rank = 0;
    if (!row_is_matrix(row)) {
        shape[0] = rows;
        return 1;
    }
    if (many && row->lie == LIES_STACKED)
        shape[rank++] = blocks;
    shape[rank++] = (row->turned ? cols : rows) * (row->lie == LIES_FLAT ? blocks : 1);
    shape[rank++] = row->turned ? rows : cols;
    return rank;
}

/* Sizes of 1 in front of a vector are no difference. */
static bool has_shape(const struct safetensors_tensor *tensor, const int64_t *shape, int32_t rank)
{
    int32_t extra = rank == 1 ? tensor->rank - 1 : 0;
    for (int32_t i = 0; i < extra; i++)
        if (tensor->shape[i] != 1)
            return false;
    if (extra < 0 || tensor->rank != rank + extra)
        return false;
    for (int32_t i = 0; i < rank; i++)
        if (tensor->shape[extra + i] != shape[i])
            return false;
    return true;
}

/* A table may be longer than the vocabulary. */
static int check_table(const struct weight_row *row, const struct arch *whole,
                       const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor,
                       struct error *err)
{
    const struct safetensors_tensor *info = tensor->info;
    const int32_t num = family_dim(whole, row->rows);
    char found[160];
    if (strcmp(info->dtype->name, "I64") == 0 && info->rank == 1 && info->shape[0] >= num)
        return 0;
    tensor_place_describe(info, found, sizeof(found));
    return error_set(err, -EINVAL, "tensor %.120s in %.80s is %s, wanted I64 [%d]", info->name,
                     checkpoint_file_name(checkpoint, tensor), found, num);
}

int tensor_place_check(const struct weight_row *row, const struct arch *whole,
                       const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor,
                       struct error *err)
{
    const struct safetensors_tensor *info = tensor->info;
    char found[160], wanted[64];
    int64_t shape[3];
    size_t at = 0;
    tensor_place_describe(info, found, sizeof(found));
    if (row->table_below != DIM_NONE)
        return check_table(row, whole, checkpoint, tensor, err);
    if (!info->dtype->is_weight)
        return error_set(err, -ENOTSUP,
                         "tensor %.120s in %.80s is %s, supported are F32, F16, BF16", info->name,
                         checkpoint_file_name(checkpoint, tensor), found);
    const int32_t rank = make_shape(row, whole, shape);
    if (has_shape(info, shape, rank))
        return 0;
    for (int32_t i = 0; i < rank && at < sizeof(wanted); i++)
        at += (size_t)snprintf(wanted + at, sizeof(wanted) - at, "[%lld]", (long long)shape[i]);
    return error_set(err, -EINVAL, "tensor %.120s in %.80s is %s, wanted %s", info->name,
                     checkpoint_file_name(checkpoint, tensor), found, wanted);
}

struct loader_part tensor_place_part(const struct weight_row *row, const struct arch *whole,
                                     const struct arch *own, int32_t block,
                                     const struct checkpoint_tensor *tensor)
{
    const int32_t in_rows = dim_or(whole, row->in_rows, row->rows);
    const int32_t in_cols = dim_or(whole, row->in_cols, row->cols);
    const bool named = strstr(row->name, "%d") != NULL;
    const int64_t in_tensor =
        row->blocks == DIM_NONE || named ? 0 : block + shard_first(whole, own, row->blocks);
    const int32_t stride = row->blocks != DIM_NONE ? block_stride(family_dim(own, row->total)) : 0;
    return (struct loader_part){
        .tensor = tensor,
        .first_row = block * stride + family_dim(own, row->first),
        .num_rows = family_dim(own, row->rows),
        .tensor_row = family_dim(whole, row->from_row) + shard_first(whole, own, row->rows),
        .tensor_col = family_dim(whole, row->from_col) + shard_first(whole, own, row->cols),
        .tensor_cols = row->turned ? in_rows : in_cols,
        .offset = in_tensor * in_rows * (row_is_matrix(row) ? in_cols : 1),
        .turned = row->turned,
    };
}

int tensor_place_read_table(const struct checkpoint_tensor *tensor, int32_t num, int32_t below,
                            int32_t *to, struct error *err)
{
    enum { PIECE = 1024 };
    int64_t values[PIECE];
    for (int32_t at = 0; at < num; at += PIECE) {
        const int32_t n = num - at < PIECE ? num - at : PIECE;
        const int r = safetensors_read(tensor->file, tensor->info, (uint64_t)at * sizeof(*values),
                                       values, (size_t)n * sizeof(*values));
        if (r < 0)
            return error_set(err, r, "tensor %.160s cannot be read", tensor->info->name);
        for (int32_t i = 0; i < n; i++) {
            if (values[i] < 0 || values[i] >= below)
                return error_set(err, -EINVAL, "tensor %.160s has %lld at %d, wanted 0 to %d",
                                 tensor->info->name, (long long)values[i], at + i, below - 1);
            to[at + i] = (int32_t)values[i];
        }
    }
    return 0;
}
