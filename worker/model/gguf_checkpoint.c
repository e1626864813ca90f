#include "worker/model/gguf_checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_model.h"
#include "formats/gguf_value.h"

enum { MAX_EXPERTS = 4096 };

struct reader {
    struct gguf_files files;
    const struct gguf_arch *arch;
    struct checkpoint *checkpoint;
    int64_t num_heads, num_kv_heads;
    struct safetensors_dtype *dtypes; /* [BLOCK_MAX_TYPES] */
    struct error *err;
};

/* What each type is in memory: the same. */
static enum dtype kept_as(uint32_t type)
{
    static const enum dtype types[BLOCK_MAX_TYPES] = {
        [BLOCK_F32] = DTYPE_F32,   [BLOCK_F16] = DTYPE_F16,   [BLOCK_BF16] = DTYPE_BF16,
        [BLOCK_Q8_0] = DTYPE_Q8_0, [BLOCK_Q4_0] = DTYPE_Q4_0, [BLOCK_Q4_1] = DTYPE_Q4_1,
        [BLOCK_Q5_0] = DTYPE_Q5_0, [BLOCK_Q5_1] = DTYPE_Q5_1, [BLOCK_Q2_K] = DTYPE_Q2_K,
        [BLOCK_Q3_K] = DTYPE_Q3_K, [BLOCK_Q4_K] = DTYPE_Q4_K, [BLOCK_Q5_K] = DTYPE_Q5_K,
        [BLOCK_Q6_K] = DTYPE_Q6_K,
    };
    return types[type];
}

static void fill_dtypes(struct safetensors_dtype *dtypes)
{
    for (uint32_t type = 0; type < BLOCK_MAX_TYPES; type++) {
        const struct block_info *info = block_info(type);
        if (info == NULL)
            continue;
        dtypes[type] = (struct safetensors_dtype){ .name = info->name,
                                                   .is_weight = info->widen != NULL,
                                                   .dtype = kept_as(type),
                                                   .block = info->elements > 1 ? info : NULL };
    }
}

/* Dimensions outermost first, of the whole tensor. */
static void copy_shape(const struct gguf_tensor *from, int32_t num_dims,
                       struct safetensors_tensor *to)
{
    to->rank = num_dims;
    for (int32_t i = 0; i < num_dims; i++)
        to->shape[i] = from->dims[num_dims - 1 - i];
}

static int set_heads(const struct reader *reader, const struct gguf_name *name,
                     const struct gguf_tensor *from, struct safetensors_tensor *to)
{
    const int64_t heads = name->is_key ? reader->num_kv_heads : reader->num_heads;
    if (!name->is_interleaved)
        return 0;
    const int64_t rows = to->shape[0];
    if (heads < 1 || rows % heads != 0 || rows / heads % 2 != 0 || rows / heads > INT32_MAX)
        return error_set(reader->err, -EINVAL,
                         "tensor %s has %lld rows, wanted an even number for each of %lld heads",
                         from->name, (long long)rows, (long long)heads);
    to->head_rows = (int32_t)(rows / heads);
    return 0;
}

/* `part` of `num_parts` equal ones of a tensor. */
static int add_tensor(struct reader *reader, struct safetensors *file, const struct gguf_name *name,
                      const struct gguf_tensor *from, int32_t part, int32_t num_parts)
{
    struct safetensors_tensor *to = &file->tensors[file->num_tensors];
    char text[GGUF_NAME_BYTES + 16];
    const char *mark = name->is_stacked ? strstr(name->text, "%d") : NULL;
    if (mark != NULL)
        snprintf(text, sizeof(text), "%.*s%d%s", (int)(mark - name->text), name->text, part,
                 mark + 2);
    else
        snprintf(text, sizeof(text), "%s", name->text);
    const uint64_t bytes = from->bytes / (uint64_t)num_parts;
    to->name = arena_strndup(&file->arena, text, strlen(text));
    to->dtype = &reader->dtypes[from->type];
    to->holds_one = name->holds_one;
    to->begin = from->offset + (uint64_t)part * bytes;
    to->end = to->begin + bytes;
    copy_shape(from, name->is_stacked ? from->num_dims - 1 : from->num_dims, to);
    if (name->is_row && to->rank == 1) {
        to->shape[to->rank++] = to->shape[0];
        to->shape[0] = 1;
    }
    file->num_tensors++;
    return to->name == NULL ? error_set(reader->err, -ENOMEM, "no memory for names of tensors")
                            : set_heads(reader, name, from, to);
}

static int add_all(struct reader *reader, struct safetensors *file, const struct gguf_tensor *from)
{
    struct gguf_name name;
    if (!gguf_name_map(reader->arch, from->name, &name))
        return error_set(reader->err, -ENOTSUP,
                         "tensor %s is not known of this general.architecture", from->name);
    if (name.is_ignored)
        return 0;
    int64_t num_parts = name.is_stacked ? from->dims[from->num_dims - 1] : 1;
    if (name.is_stacked && (from->num_dims != 3 || num_parts > MAX_EXPERTS))
        return error_set(reader->err, -EINVAL,
                         "tensor %s has %d dimensions, wanted 3, the last at most %d", from->name,
                         from->num_dims, MAX_EXPERTS);
    int r = 0;
    for (int32_t part = 0; r == 0 && part < num_parts; part++)
        r = add_tensor(reader, file, &name, from, part, (int32_t)num_parts);
    return r;
}

/* Most entries that the tensors of a file become. */
static size_t count_entries(const struct gguf *gguf)
{
    size_t num = 0;
    for (int32_t i = 0; i < gguf->num_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        const int64_t outer = tensor->num_dims == 3 ? tensor->dims[2] : 1;
        num += outer <= MAX_EXPERTS ? (size_t)outer : 1;
    }
    return num;
}

/* The descriptor goes over to the checkpoint. */
static int add_file(struct reader *reader, struct gguf *gguf, const char *path)
{
    struct checkpoint *c = reader->checkpoint;
    struct safetensors *file = &c->files[c->num_files];
    const char *slash = strrchr(path, '/');
    *file = (struct safetensors){ .fd = gguf->fd,
                                  .data_begin = gguf->data_begin,
                                  .data_bytes = gguf->data_bytes,
                                  .hash = gguf->hash };
    gguf->fd = -1;
    arena_init(&file->arena, 0);
    c->file_names[c->num_files++] = strdup(slash != NULL ? slash + 1 : path);
    const size_t num = count_entries(gguf);
    file->tensors = arena_alloc_array(&file->arena, num + 1, sizeof(*file->tensors));
    if (file->tensors == NULL || c->file_names[c->num_files - 1] == NULL)
        return error_set(reader->err, -ENOMEM, "no memory for %zu tensors", num);
    int r = 0;
    for (int32_t i = 0; r == 0 && i < gguf->num_tensors; i++)
        r = add_all(reader, file, &gguf->tensors[i]);
    return r;
}

/* A list by layer tells the same number everywhere, or gguf_config_json() has refused it. */
static int read_heads(struct reader *reader)
{
    const struct gguf_value *heads =
        gguf_find(&reader->files.files[0], "llama.attention.head_count");
    const struct gguf_value *kv_heads =
        gguf_find(&reader->files.files[0], "llama.attention.head_count_kv");
    if (heads != NULL && !gguf_value_int(heads, 0, &reader->num_heads))
        return error_set(reader->err, -EINVAL, "%s is no integer", heads->key);
    reader->num_kv_heads = reader->num_heads;
    if (kv_heads != NULL && !gguf_value_int(kv_heads, 0, &reader->num_kv_heads))
        return error_set(reader->err, -EINVAL, "%s is no integer", kv_heads->key);
    return 0;
}

static int read_files(struct reader *reader, const char *path)
{
    struct checkpoint *c = reader->checkpoint;
    int r = gguf_arch_find(&reader->files.files[0], &reader->arch, reader->err);
    if (r == 0)
        r = read_heads(reader);
    if (r < 0)
        return r;
    c->files = calloc((size_t)reader->files.num, sizeof(*c->files));
    c->file_names = calloc((size_t)reader->files.num, sizeof(*c->file_names));
    c->dtypes = calloc(BLOCK_MAX_TYPES, sizeof(*c->dtypes));
    if (c->files == NULL || c->file_names == NULL || c->dtypes == NULL)
        return error_set(reader->err, -ENOMEM, "no memory for the list of files");
    fill_dtypes(c->dtypes);
    reader->dtypes = c->dtypes;
    for (int32_t f = 0; r == 0 && f < reader->files.num; f++)
        r = add_file(reader, &reader->files.files[f], path);
    return r;
}

int gguf_checkpoint_open(const char *path, struct checkpoint *checkpoint, struct error *err)
{
    struct error why = { 0 };
    struct reader reader = { .checkpoint = checkpoint, .err = &why };
    int r = gguf_files_open(path, &reader.files, err);
    if (r < 0)
        return r;
    r = read_files(&reader, path);
    gguf_files_close(&reader.files);
    return r < 0 ? error_set(err, r, "%.200s: %s", path, why.message) : 0;
}
