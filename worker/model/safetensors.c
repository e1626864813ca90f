#include "worker/model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

enum { MAX_HEADER_BYTES = 100000000 };

static const struct json_limits limits = { .depth = 8,
                                           .values = 4000000,
                                           .keys_per_object = SAFETENSORS_MAX_TENSORS + 1,
                                           .number_chars = 20 };

static const struct safetensors_dtype dtypes[] = {
    { "F32", 32, true, DTYPE_F32 },       { "F16", 16, true, DTYPE_F16 },
    { "BF16", 16, true, DTYPE_BF16 },     { .name = "F64", .bits = 64 },
    { .name = "F8_E4M3", .bits = 8 },     { .name = "F8_E5M2", .bits = 8 },
    { .name = "F8_E8M0", .bits = 8 },     { .name = "F8_E4M3FNUZ", .bits = 8 },
    { .name = "F8_E5M2FNUZ", .bits = 8 }, { .name = "F6_E2M3", .bits = 6 },
    { .name = "F6_E3M2", .bits = 6 },     { .name = "F4", .bits = 4 },
    { .name = "I64", .bits = 64 },        { .name = "I32", .bits = 32 },
    { .name = "I16", .bits = 16 },        { .name = "I8", .bits = 8 },
    { .name = "U64", .bits = 64 },        { .name = "U32", .bits = 32 },
    { .name = "U16", .bits = 16 },        { .name = "U8", .bits = 8 },
    { .name = "C64", .bits = 64 },        { .name = "BOOL", .bits = 8 },
};

int safetensors_header_bytes(const unsigned char first[8], uint64_t file_bytes,
                             uint64_t *ret_header_bytes, struct error *err)
{
    uint64_t bytes = 0;
    if (file_bytes < 8)
        return error_set(err, -EINVAL, "file of %llu bytes, wanted at least 8",
                         (unsigned long long)file_bytes);
    for (int i = 7; i >= 0; i--)
        bytes = bytes << 8 | first[i];
    if (bytes > MAX_HEADER_BYTES)
        return error_set(err, -EINVAL, "header of %llu bytes, wanted at most %d",
                         (unsigned long long)bytes, MAX_HEADER_BYTES);
    if (bytes > file_bytes - 8)
        return error_set(err, -EINVAL, "header of %llu bytes in a file of %llu",
                         (unsigned long long)bytes, (unsigned long long)file_bytes);
    *ret_header_bytes = bytes;
    return 0;
}

static int read_dtype(const json_t *value, struct safetensors_tensor *tensor, struct error *err)
{
    const char *name = json_string_value(value);
    if (name == NULL)
        return error_set(err, -EINVAL, "tensor %.120s: dtype is not a string", tensor->name);
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            tensor->dtype = &dtypes[i];
            return 0;
        }
    return error_set(err, -ENOTSUP, "tensor %.120s: dtype \"%.40s\" is not known", tensor->name,
                     name);
}

static int read_shape(const json_t *value, struct safetensors_tensor *tensor, struct error *err)
{
    const size_t rank = json_array_size(value);
    if (!json_is_array(value) || rank > SAFETENSORS_MAX_RANK)
        return error_set(err, -EINVAL, "tensor %.120s: shape is no list of at most %d numbers",
                         tensor->name, SAFETENSORS_MAX_RANK);
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(value, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return error_set(err, -EINVAL, "tensor %.120s: shape[%zu] is no count", tensor->name,
                             i);
        tensor->shape[i] = json_integer_value(dim);
    }
    tensor->rank = (int32_t)rank;
    return 0;
}

static int read_offsets(const json_t *value, uint64_t data_bytes, struct safetensors_tensor *tensor,
                        struct error *err)
{
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < 0)
        return error_set(err, -EINVAL, "tensor %.120s: data_offsets is no pair of positions",
                         tensor->name);
    tensor->begin = (uint64_t)json_integer_value(begin);
    tensor->end = (uint64_t)json_integer_value(end);
    if (tensor->begin > tensor->end || tensor->end > data_bytes)
        return error_set(err, -EINVAL,
                         "tensor %.120s: data_offsets are %llu to %llu, wanted an order within "
                         "%llu",
                         tensor->name, (unsigned long long)tensor->begin,
                         (unsigned long long)tensor->end, (unsigned long long)data_bytes);
    return 0;
}

/* Bytes of shape x dtype; false when they overflow or end inside a byte. */
static bool count_bytes(const struct safetensors_tensor *tensor, uint64_t *ret_bytes)
{
    uint64_t bits = (uint64_t)tensor->dtype->bits;
    for (int32_t i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] == 0) {
            *ret_bytes = 0; /* however large the others are */
            return true;
        }
    for (int32_t i = 0; i < tensor->rank; i++)
        if (__builtin_mul_overflow(bits, (uint64_t)tensor->shape[i], &bits))
            return false;
    *ret_bytes = bits / 8;
    return bits % 8 == 0;
}

static int check_bytes(const struct safetensors_tensor *tensor, struct error *err)
{
    uint64_t bytes;
    if (!count_bytes(tensor, &bytes))
        return error_set(err, -EINVAL, "tensor %.120s: its shape is no whole number of bytes",
                         tensor->name);
    if (bytes != tensor->end - tensor->begin)
        return error_set(err, -EINVAL,
                         "tensor %.120s: data_offsets span %llu bytes, dtype and shape need %llu",
                         tensor->name, (unsigned long long)(tensor->end - tensor->begin),
                         (unsigned long long)bytes);
    return 0;
}

static int read_tensor(const json_t *entry, uint64_t data_bytes, struct safetensors_tensor *tensor,
                       struct error *err)
{
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return error_set(err, -EINVAL,
                         "tensor %.120s: wanted exactly dtype, shape and data_offsets",
                         tensor->name);
    int r = read_dtype(json_object_get(entry, "dtype"), tensor, err);
    if (r == 0)
        r = read_shape(json_object_get(entry, "shape"), tensor, err);
    if (r == 0)
        r = read_offsets(json_object_get(entry, "data_offsets"), data_bytes, tensor, err);
    return r < 0 ? r : check_bytes(tensor, err);
}

static int check_metadata(const json_t *metadata, struct error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(err, -EINVAL, "__metadata__ is not an object");
    json_object_foreach((json_t *)metadata, key, value) if (
        !json_is_string(value)) return error_set(err, -EINVAL,
                                                 "__metadata__: \"%.120s\" is not a string", key);
    return 0;
}

static int compare_positions(const void *left, const void *right)
{
    const struct safetensors_tensor *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int check_cover(const struct safetensors_tensor *tensors, int32_t num, uint64_t data_bytes,
                       struct error *err)
{
    uint64_t at = 0;
    for (int32_t i = 0; i < num; i++) {
        if (tensors[i].begin != at)
            return error_set(err, -EINVAL,
                             "tensor %.120s begins at byte %llu of the data, wanted %llu: no gap "
                             "and no overlap",
                             tensors[i].name, (unsigned long long)tensors[i].begin,
                             (unsigned long long)at);
        at = tensors[i].end;
    }
    if (at != data_bytes)
        return error_set(err, -EINVAL, "tensors end at byte %llu of %llu bytes of data",
                         (unsigned long long)at, (unsigned long long)data_bytes);
    return 0;
}

static int read_tensors(const json_t *root, uint64_t data_bytes, struct arena *arena,
                        struct safetensors_tensor *tensors, int32_t *ret_num, struct error *err)
{
    const char *key;
    json_t *value;
    int32_t num = 0;
    json_object_foreach((json_t *)root, key, value)
    {
        int r;
        if (strcmp(key, "__metadata__") == 0) {
            r = check_metadata(value, err);
        } else {
            tensors[num].name = arena_strndup(arena, key, strlen(key));
            if (tensors[num].name == NULL)
                return error_set(err, -ENOMEM, "no memory for the names of tensors");
            r = read_tensor(value, data_bytes, &tensors[num++], err);
        }
        if (r < 0)
            return r;
    }
    qsort(tensors, (size_t)num, sizeof(*tensors), compare_positions);
    *ret_num = num;
    return check_cover(tensors, num, data_bytes, err);
}

static int read_root(const json_t *root, uint64_t data_bytes, struct arena *arena,
                     struct safetensors_tensor **ret_tensors, int32_t *ret_num, struct error *err)
{
    const size_t num = json_object_size(root);
    if (!json_is_object(root))
        return error_set(err, -EINVAL, "header is not a JSON object");
    if (num > SAFETENSORS_MAX_TENSORS)
        return error_set(err, -EINVAL, "header with %zu tensors, wanted at most %d", num,
                         SAFETENSORS_MAX_TENSORS);
    struct safetensors_tensor *tensors = arena_alloc_array(arena, num + 1, sizeof(*tensors));
    if (tensors == NULL)
        return error_set(err, -ENOMEM, "no memory for %zu tensors", num);
    int32_t num_read = 0;
    const int r = read_tensors(root, data_bytes, arena, tensors, &num_read, err);
    if (r < 0)
        return r;
    *ret_tensors = tensors;
    *ret_num = num_read;
    return 0;
}

int safetensors_parse(const char *header, size_t header_bytes, uint64_t data_bytes,
                      struct arena *arena, struct safetensors_tensor **ret_tensors,
                      int32_t *ret_num_tensors, struct error *err)
{
    struct error why = { 0 };
    json_t *root;
    if (header_bytes == 0 || header[0] != '{')
        return error_set(err, -EINVAL, "header does not begin with {");
    int r = json_read(header, header_bytes, &limits, &root, &why);
    if (r < 0)
        return error_set(err, r, "header: %s", why.message);
    r = read_root(root, data_bytes, arena, ret_tensors, ret_num_tensors, err);
    json_decref(root);
    return r;
}

int safetensors_read(const struct safetensors *file, const struct safetensors_tensor *tensor,
                     uint64_t offset, void *to, size_t bytes)
{
    const uint64_t size = tensor->end - tensor->begin;
    if (offset > size || bytes > size - offset)
        return -EINVAL;
    return file_read_at(file->fd, file->data_begin + tensor->begin + offset, to, bytes);
}

static int read_header(struct safetensors *file, uint64_t file_bytes, struct error *err)
{
    unsigned char first[8] = { 0 };
    uint64_t bytes;
    int r = file_bytes < 8 ? 0 : file_read_at(file->fd, 0, first, sizeof(first));
    if (r < 0)
        return error_set(err, r, "%s", strerror(-r));
    r = safetensors_header_bytes(first, file_bytes, &bytes, err);
    if (r < 0)
        return r;
    char *header = malloc(bytes + 1);
    if (header == NULL)
        return error_set(err, -ENOMEM, "no memory for a header of %llu bytes",
                         (unsigned long long)bytes);
    file->data_begin = 8 + bytes;
    file->data_bytes = file_bytes - 8 - bytes;
    r = file_read_at(file->fd, 8, header, bytes);
    if (r < 0)
        error_set(err, r, "%s", strerror(-r));
    else
        r = safetensors_parse(header, bytes, file->data_bytes, &file->arena, &file->tensors,
                              &file->num_tensors, err);
    file->hash = file_hash(FILE_HASH_START, header, r < 0 ? 0 : bytes);
    free(header);
    return r;
}

static int open_and_check(int dir_fd, const char *name, struct safetensors *file, struct error *err)
{
    struct stat info;
    file->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0 || fstat(file->fd, &info) < 0)
        return error_set(err, -errno, "%s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, -EINVAL, "not a regular file");
    const int r = read_header(file, (uint64_t)info.st_size, err);
    const int64_t stamp[] = { info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec };
    file->hash = file_hash(file->hash, stamp, sizeof(stamp));
    return r;
}

int safetensors_open(int dir_fd, const char *name, struct safetensors *ret_file, struct error *err)
{
    struct safetensors file = { .fd = -1 };
    struct error why = { 0 };
    arena_init(&file.arena, 0);
    const int r = open_and_check(dir_fd, name, &file, &why);
    if (r < 0) {
        safetensors_close(&file);
        return error_set(err, r, "%s: %s", name, why.message);
    }
    *ret_file = file;
    return 0;
}

void safetensors_close(struct safetensors *file)
{
    if (file->fd >= 0)
        close(file->fd);
    arena_finish(&file->arena);
    *file = (struct safetensors){ .fd = -1 };
}
