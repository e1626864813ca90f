/* The header, from bytes of which nothing is believed. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"

enum {
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 16,
    MAX_KEY = 65535,
    MAX_NAME = 63,
    MAX_STRING = 64 << 20,
    MAX_ARRAY = 16 << 20,
    MIN_VALUE_BYTES = 8 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8,
};
#define MAX_DIM (INT64_C(1) << 40)

/* Bytes of one element; strings and arrays have none of their own. */
static const unsigned char type_bytes[GGUF_NUM_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

struct cursor {
    const unsigned char *bytes;
    size_t pos, len;     /* len: what is in memory */
    uint64_t file_bytes; /* len at least */
    struct arena *arena;
    const char *what; /* being read, for messages */
    struct error *err;
};

/* `n` bytes, or NULL: behind the end of memory (-EAGAIN) or of the file. */
static const unsigned char *take(struct cursor *c, uint64_t n, int *ret)
{
    if (n > c->file_bytes - c->pos) {
        *ret = error_set(c->err, -EINVAL,
                         "%.80s at byte %zu: %" PRIu64 " bytes are wanted, %" PRIu64 " are left",
                         c->what, c->pos, n, c->file_bytes - c->pos);
        return NULL;
    }
    if (n > c->len - c->pos) {
        *ret = -EAGAIN;
        return NULL;
    }
    const unsigned char *at = c->bytes + c->pos;
    c->pos += (size_t)n;
    return at;
}

static uint64_t join(const unsigned char *at, int num)
{
    uint64_t value = 0;
    for (int i = num - 1; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

static int take_u32(struct cursor *c, uint32_t *ret)
{
    int r = 0;
    const unsigned char *at = take(c, 4, &r);
    if (at != NULL)
        *ret = (uint32_t)join(at, 4);
    return r;
}

static int take_u64(struct cursor *c, uint64_t *ret)
{
    int r = 0;
    const unsigned char *at = take(c, 8, &r);
    if (at != NULL)
        *ret = join(at, 8);
    return r;
}

/* A string of `min` to `max` bytes. */
static int take_string(struct cursor *c, uint64_t min, uint64_t max, const unsigned char **ret,
                       size_t *ret_len)
{
    const size_t begin = c->pos;
    uint64_t len = 0;
    int r = take_u64(c, &len);
    if (r < 0)
        return r;
    if (len < min || len > max)
        return error_set(c->err, -EINVAL,
                         "%.80s at byte %zu: a text of %" PRIu64 " bytes, wanted %" PRIu64
                         " to %" PRIu64,
                         c->what, begin, len, min, max);
    *ret = take(c, len, &r);
    *ret_len = (size_t)len;
    return r;
}

/* A name of printable ASCII, copied. */
static int take_name(struct cursor *c, uint64_t max, const char **ret)
{
    const unsigned char *at = NULL;
    const size_t begin = c->pos;
    size_t len = 0;
    const int r = take_string(c, 1, max, &at, &len);
    if (r < 0)
        return r;
    for (size_t i = 0; i < len; i++)
        if (at[i] <= ' ' || at[i] > '~')
            return error_set(c->err, -EINVAL,
                             "%.80s at byte %zu: byte %zu of it is 0x%02x, wanted printable ASCII",
                             c->what, begin, i, at[i]);
    *ret = arena_strndup(c->arena, (const char *)at, len);
    return *ret != NULL ? 0 : error_set(c->err, -ENOMEM, "no memory for names");
}

static int take_count(struct cursor *c, const char *what, uint64_t max, uint64_t min_bytes,
                      uint64_t *ret)
{
    c->what = what;
    const size_t begin = c->pos;
    const int r = take_u64(c, ret);
    if (r < 0)
        return r;
    if (*ret > max)
        return error_set(c->err, -EINVAL, "%s at byte %zu: %" PRIu64 ", wanted at most %" PRIu64,
                         what, begin, *ret, max);
    if (*ret > (c->file_bytes - c->pos) / min_bytes)
        return error_set(c->err, -EINVAL,
                         "%s at byte %zu: %" PRIu64 ", but only %" PRIu64 " bytes follow", what,
                         begin, *ret, c->file_bytes - c->pos);
    return 0;
}

/* --- keys and values ---------------------------------------------------------------------- */

static int check_bools(const struct cursor *c, const unsigned char *at, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (at[i] > 1)
            return error_set(c->err, -EINVAL, "%.80s at byte %zu: bool %u, wanted 0 or 1", c->what,
                             (size_t)(at - c->bytes) + i, at[i]);
    return 0;
}

static int take_elements(struct cursor *c, struct gguf_value *value)
{
    int r = 0;
    if (value->type != GGUF_STRING) {
        const unsigned char *at = take(c, value->num * type_bytes[value->type], &r);
        return at != NULL && value->type == GGUF_BOOL ? check_bools(c, at, value->num) : r;
    }
    for (uint64_t i = 0; r == 0 && i < value->num; i++) {
        const unsigned char *at;
        size_t len;
        r = take_string(c, 0, MAX_STRING, &at, &len);
    }
    return r;
}

static int check_type(const struct cursor *c, uint32_t type, bool in_array)
{
    if (in_array && type == GGUF_ARRAY)
        return error_set(c->err, -EINVAL, "%.80s at byte %zu: an array of arrays", c->what, c->pos);
    if (type >= GGUF_NUM_TYPES)
        return error_set(c->err, -EINVAL, "%.80s at byte %zu: value type %u, wanted 0 to 12",
                         c->what, c->pos, type);
    return 0;
}

static int take_array_head(struct cursor *c, struct gguf_value *value)
{
    value->is_array = true;
    int r = take_u32(c, &value->type);
    if (r == 0)
        r = check_type(c, value->type, true);
    if (r < 0)
        return r;
    const uint64_t size = value->type == GGUF_STRING ? 8 : type_bytes[value->type];
    return take_count(c, c->what, MAX_ARRAY, size, &value->num);
}

static int take_value(struct cursor *c, struct gguf_value *value)
{
    c->what = "a key";
    int r = take_name(c, MAX_KEY, &value->key);
    if (r < 0)
        return r;
    c->what = value->key;
    r = take_u32(c, &value->type);
    if (r == 0)
        r = check_type(c, value->type, false);
    value->num = 1;
    if (r == 0 && value->type == GGUF_ARRAY)
        r = take_array_head(c, value);
    if (r < 0)
        return r;
    value->at = c->bytes + c->pos;
    r = take_elements(c, value);
    value->end = c->bytes + c->pos;
    return r;
}

static int compare_keys(const void *left, const void *right)
{
    const struct gguf_value *a = left, *b = right;
    return strcmp(a->key, b->key);
}

static int take_values(struct cursor *c, uint64_t num, struct gguf *gguf)
{
    gguf->values = arena_alloc_array(c->arena, num + 1, sizeof(*gguf->values));
    if (gguf->values == NULL)
        return error_set(c->err, -ENOMEM, "no memory for %" PRIu64 " keys", num);
    for (uint64_t i = 0; i < num; i++) {
        const int r = take_value(c, &gguf->values[i]);
        if (r < 0)
            return r;
    }
    gguf->num_values = (int32_t)num;
    qsort(gguf->values, num, sizeof(*gguf->values), compare_keys);
    for (uint64_t i = 1; i < num; i++)
        if (compare_keys(&gguf->values[i - 1], &gguf->values[i]) == 0)
            return error_set(c->err, -EINVAL, "key %.120s is there twice", gguf->values[i].key);
    return 0;
}

static int read_alignment(const struct cursor *c, struct gguf *gguf)
{
    const struct gguf_value key = { .key = "general.alignment" };
    const struct gguf_value *value =
        bsearch(&key, gguf->values, (size_t)gguf->num_values, sizeof(key), compare_keys);
    gguf->alignment = DEFAULT_ALIGNMENT;
    if (value == NULL)
        return 0;
    if (value->type != GGUF_U32 || value->is_array)
        return error_set(c->err, -EINVAL, "general.alignment is of value type %u, wanted a u32",
                         value->type);
    gguf->alignment = (uint32_t)join(value->at, 4);
    if (gguf->alignment < 8 || gguf->alignment > MAX_ALIGNMENT ||
        (gguf->alignment & (gguf->alignment - 1)) != 0)
        return error_set(c->err, -EINVAL,
                         "general.alignment is %u, wanted a power of two from 8 to %d",
                         gguf->alignment, MAX_ALIGNMENT);
    return 0;
}

/* --- tensors ------------------------------------------------------------------------------ */

static int take_dims(struct cursor *c, struct gguf_tensor *tensor, uint64_t *ret_elements)
{
    uint32_t num = 0;
    uint64_t elements = 1;
    int r = take_u32(c, &num);
    if (r == 0 && (num < 1 || num > GGUF_MAX_DIMS))
        return error_set(c->err, -EINVAL, "tensor %s at byte %zu: %u dimensions, wanted 1 to %d",
                         tensor->name, c->pos - 4, num, GGUF_MAX_DIMS);
    for (uint32_t i = 0; r == 0 && i < num; i++) {
        uint64_t dim = 0;
        r = take_u64(c, &dim);
        if (r == 0 && (dim < 1 || dim > MAX_DIM))
            return error_set(c->err, -EINVAL,
                             "tensor %s at byte %zu: dimension %u is %" PRIu64
                             ", wanted 1 to %" PRId64,
                             tensor->name, c->pos - 8, i, dim, MAX_DIM);
        tensor->dims[i] = (int64_t)dim;
        if (r == 0 && (__builtin_mul_overflow(elements, dim, &elements) || elements > INT64_MAX))
            return error_set(c->err, -EINVAL, "tensor %s: its dimensions' product passes 2^63",
                             tensor->name);
    }
    tensor->num_dims = (int32_t)num;
    *ret_elements = elements;
    return r;
}

static int take_type(struct cursor *c, struct gguf_tensor *tensor)
{
    const int r = take_u32(c, &tensor->type);
    if (r < 0)
        return r;
    tensor->info = block_info(tensor->type);
    if (tensor->info == NULL)
        return error_set(c->err, -EINVAL, "tensor %s at byte %zu: block type %u is not known",
                         tensor->name, c->pos - 4, tensor->type);
    if (tensor->info->bytes == 0)
        return error_set(c->err, -ENOTSUP, "tensor %s is %s, which is not supported", tensor->name,
                         tensor->info->name);
    return 0;
}

static int check_bytes(const struct cursor *c, struct gguf_tensor *tensor, uint64_t elements)
{
    const uint64_t block = (uint64_t)tensor->info->elements;
    if ((uint64_t)tensor->dims[0] % block != 0)
        return error_set(c->err, -EINVAL,
                         "tensor %s: rows of %" PRId64 " elements, wanted whole blocks of %s, %d "
                         "elements each",
                         tensor->name, tensor->dims[0], tensor->info->name, tensor->info->elements);
    if (__builtin_mul_overflow(elements / block, (uint64_t)tensor->info->bytes, &tensor->bytes) ||
        tensor->bytes > INT64_MAX)
        return error_set(c->err, -EINVAL, "tensor %s: its size passes 2^63 bytes", tensor->name);
    return 0;
}

static int take_tensor(struct cursor *c, struct gguf_tensor *tensor)
{
    uint64_t elements = 0;
    c->what = "a tensor's name";
    int r = take_name(c, MAX_NAME, &tensor->name);
    if (r < 0)
        return r;
    c->what = tensor->name;
    r = take_dims(c, tensor, &elements);
    if (r == 0)
        r = take_type(c, tensor);
    if (r == 0)
        r = take_u64(c, &tensor->offset);
    return r < 0 ? r : check_bytes(c, tensor, elements);
}

static int compare_names(const void *left, const void *right)
{
    const struct gguf_tensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static int refuse_twice(const struct cursor *c, const struct gguf *gguf)
{
    const size_t num = (size_t)gguf->num_tensors;
    const struct gguf_tensor **sorted = calloc(num + 1, sizeof(*sorted));
    int r = 0;
    if (sorted == NULL)
        return error_set(c->err, -ENOMEM, "no memory for %zu tensors", num);
    for (size_t i = 0; i < num; i++)
        sorted[i] = &gguf->tensors[i];
    qsort(sorted, num, sizeof(const struct gguf_tensor *), compare_names);
    for (size_t i = 1; r == 0 && i < num; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            r = error_set(c->err, -EINVAL, "tensor %s is there twice", sorted[i]->name);
    free(sorted);
    return r;
}

static int take_tensors(struct cursor *c, uint64_t num, struct gguf *gguf)
{
    gguf->tensors = arena_alloc_array(c->arena, num + 1, sizeof(*gguf->tensors));
    if (gguf->tensors == NULL)
        return error_set(c->err, -ENOMEM, "no memory for %" PRIu64 " tensors", num);
    for (uint64_t i = 0; i < num; i++) {
        const int r = take_tensor(c, &gguf->tensors[i]);
        if (r < 0)
            return r;
    }
    gguf->num_tensors = (int32_t)num;
    return refuse_twice(c, gguf);
}

/* Each begins where the one before ended, rounded up: no gap, no overlap, nothing behind the end.
 */
static int check_layout(const struct cursor *c, const struct gguf *gguf)
{
    const uint64_t mask = gguf->alignment - 1;
    uint64_t at = 0;
    for (int32_t i = 0; i < gguf->num_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        if (tensor->offset != at)
            return error_set(c->err, -EINVAL,
                             "tensor %s begins at byte %" PRIu64 " of the data, wanted %" PRIu64
                             ": no gap and no overlap",
                             tensor->name, tensor->offset, at);
        if (at > gguf->data_bytes || tensor->bytes > gguf->data_bytes - at)
            return error_set(c->err, -EINVAL,
                             "tensor %s needs %" PRIu64 " bytes at byte %" PRIu64
                             " of the data, which has %" PRIu64,
                             tensor->name, tensor->bytes, at, gguf->data_bytes);
        at = (at + tensor->bytes + mask) & ~mask; /* both are below 2^63 */
    }
    return 0;
}

static int find_data(const struct cursor *c, struct gguf *gguf)
{
    const uint64_t mask = gguf->alignment - 1;
    gguf->data_begin = (c->pos + mask) & ~mask;
    if (gguf->num_tensors == 0 && gguf->data_begin > c->file_bytes)
        gguf->data_begin = c->file_bytes; /* keys alone, as of a vocabulary */
    if (gguf->data_begin > c->file_bytes)
        return error_set(c->err, -EINVAL,
                         "the data would begin at byte %" PRIu64 " of a file of %" PRIu64,
                         gguf->data_begin, c->file_bytes);
    gguf->data_bytes = c->file_bytes - gguf->data_begin;
    return check_layout(c, gguf);
}

static int take_version(struct cursor *c, struct gguf *gguf)
{
    int r = 0;
    c->what = "the magic number";
    const unsigned char *magic = take(c, 4, &r);
    if (magic == NULL)
        return r;
    if (memcmp(magic, "GGUF", 4) != 0)
        return error_set(c->err, -EINVAL, "it does not begin with GGUF");
    c->what = "the version";
    r = take_u32(c, &gguf->version);
    if (r < 0)
        return r;
    if ((gguf->version & 0xffff) == 0)
        return error_set(c->err, -ENOTSUP, "it is big-endian, which is not supported");
    if (gguf->version != 2 && gguf->version != 3)
        return error_set(c->err, -ENOTSUP, "it has version %u, supported are 2 and 3",
                         gguf->version);
    return 0;
}

int gguf_parse(const unsigned char *bytes, size_t len, uint64_t file_bytes, struct gguf *gguf,
               struct error *err)
{
    struct cursor c = {
        .bytes = bytes, .len = len, .file_bytes = file_bytes, .arena = &gguf->arena, .err = err
    };
    uint64_t num_tensors = 0, num_values = 0;
    int r = take_version(&c, gguf);
    if (r == 0)
        r = take_count(&c, "the number of tensors", GGUF_MAX_TENSORS, MIN_TENSOR_BYTES,
                       &num_tensors);
    if (r == 0)
        r = take_count(&c, "the number of keys", GGUF_MAX_KEYS, MIN_VALUE_BYTES, &num_values);
    if (r == 0)
        r = take_values(&c, num_values, gguf);
    if (r == 0)
        r = read_alignment(&c, gguf);
    if (r == 0)
        r = take_tensors(&c, num_tensors, gguf);
    return r < 0 ? r : find_data(&c, gguf);
}
