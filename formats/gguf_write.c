#include "formats/gguf_write.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 32, MAX_NAME = 63 };

void gguf_writer_finish(struct gguf_writer *writer)
{
    strbuf_finish(&writer->keys);
    strbuf_finish(&writer->infos);
}

/* The machine is little-endian, as the file is. */
static void add_u32(struct strbuf *to, uint32_t value)
{
    strbuf_append(to, &value, sizeof(value));
}

static void add_u64(struct strbuf *to, uint64_t value)
{
    strbuf_append(to, &value, sizeof(value));
}

static void add_string(struct strbuf *to, const char *text, size_t len)
{
    add_u64(to, len);
    strbuf_append(to, text, len);
}

static void begin_key(struct gguf_writer *writer, const char *key, enum gguf_type type)
{
    add_string(&writer->keys, key, strlen(key));
    add_u32(&writer->keys, type);
    writer->num_keys++;
}

void gguf_put_u32(struct gguf_writer *writer, const char *key, uint32_t value)
{
    begin_key(writer, key, GGUF_U32);
    add_u32(&writer->keys, value);
}

void gguf_put_f32(struct gguf_writer *writer, const char *key, float value)
{
    begin_key(writer, key, GGUF_F32);
    gguf_add_f32(writer, value);
}

void gguf_put_bool(struct gguf_writer *writer, const char *key, bool value)
{
    begin_key(writer, key, GGUF_BOOL);
    strbuf_append_char(&writer->keys, value ? 1 : 0);
}

void gguf_put_text(struct gguf_writer *writer, const char *key, const char *text, size_t len)
{
    begin_key(writer, key, GGUF_STRING);
    gguf_add_text(writer, text, len);
}

void gguf_put_array(struct gguf_writer *writer, const char *key, enum gguf_type type, uint64_t num)
{
    begin_key(writer, key, GGUF_ARRAY);
    add_u32(&writer->keys, type);
    add_u64(&writer->keys, num);
}

void gguf_add_text(struct gguf_writer *writer, const char *text, size_t len)
{
    add_string(&writer->keys, text, len);
}

void gguf_add_i32(struct gguf_writer *writer, int32_t value)
{
    strbuf_append(&writer->keys, &value, sizeof(value));
}

void gguf_add_f32(struct gguf_writer *writer, float value)
{
    strbuf_append(&writer->keys, &value, sizeof(value));
}

void gguf_put_value(struct gguf_writer *writer, const struct gguf_value *value)
{
    if (value->is_array)
        gguf_put_array(writer, value->key, (enum gguf_type)value->type, value->num);
    else
        begin_key(writer, value->key, (enum gguf_type)value->type);
    strbuf_append(&writer->keys, value->at, (size_t)(value->end - value->at));
}

static int count_bytes(const struct block_info *info, const int64_t *dims, int32_t num_dims,
                       uint64_t *ret_bytes)
{
    uint64_t bytes = (uint64_t)(dims[0] / info->elements);
    bool fits = !__builtin_mul_overflow(bytes, (uint64_t)info->bytes, &bytes);
    for (int32_t i = 1; i < num_dims; i++)
        fits = fits && !__builtin_mul_overflow(bytes, (uint64_t)dims[i], &bytes);
    *ret_bytes = bytes;
    return fits ? 0 : -EOVERFLOW;
}

int gguf_put_tensor(struct gguf_writer *writer, const char *name, enum block_type type,
                    const int64_t *dims, int32_t num_dims, uint64_t *ret_offset,
                    uint64_t *ret_bytes)
{
    const struct block_info *info = block_info(type);
    const size_t len = strlen(name);
    uint64_t bytes = 0, end;
    bool is_good = info != NULL && info->bytes > 0 && len >= 1 && len <= MAX_NAME &&
                   num_dims >= 1 && num_dims <= GGUF_MAX_DIMS;
    for (int32_t i = 0; is_good && i < num_dims; i++)
        is_good = dims[i] >= 1;
    if (!is_good || dims[0] % info->elements != 0)
        return -EINVAL;
    if (count_bytes(info, dims, num_dims, &bytes) < 0 ||
        __builtin_add_overflow(writer->data_bytes, bytes, &end) || end > INT64_MAX - ALIGNMENT)
        return -EOVERFLOW;
    add_string(&writer->infos, name, len);
    add_u32(&writer->infos, (uint32_t)num_dims);
    for (int32_t i = 0; i < num_dims; i++)
        add_u64(&writer->infos, (uint64_t)dims[i]);
    add_u32(&writer->infos, type);
    add_u64(&writer->infos, writer->data_bytes);
    writer->num_tensors++;
    *ret_offset = writer->data_bytes;
    *ret_bytes = bytes;
    writer->data_bytes = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return 0;
}

static int write_all(int fd, const char *from, size_t len)
{
    for (size_t at = 0; at < len;) {
        const ssize_t n = pwrite(fd, from + at, len - at, (off_t)at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int gguf_write_header(struct gguf_writer *writer, int fd)
{
    static const char zeros[ALIGNMENT];
    struct strbuf head = { 0 };
    strbuf_append(&head, "GGUF", 4);
    add_u32(&head, 3);
    add_u64(&head, writer->num_tensors);
    add_u64(&head, writer->num_keys);
    strbuf_append(&head, writer->keys.data, writer->keys.len);
    strbuf_append(&head, writer->infos.data, writer->infos.len);
    strbuf_append(&head, zeros, (ALIGNMENT - head.len % ALIGNMENT) % ALIGNMENT);
    int r = head.failed || writer->keys.failed || writer->infos.failed ? -ENOMEM : 0;
    if (r == 0)
        r = write_all(fd, head.data, head.len);
    writer->data_begin = head.len;
    if (r == 0 && ftruncate(fd, (off_t)(head.len + writer->data_bytes)) < 0)
        r = -errno;
    strbuf_finish(&head);
    return r;
}
