/*
 * gguf_write.h - making a GGUF file: keys and tensors are named, then the bytes are put in place
 *
 * Keys and tensors are collected in memory; gguf_write_header() writes them in front of the data,
 * whose size is known by then. After that tensors may be written in any order and by any
 * thread, with pwrite() at gguf_writer.data_begin + the tensor's offset.
 *
 * A failed allocation is kept and returned by gguf_write_header(). Version 3, alignment 32.
 */
#ifndef FORMATS_GGUF_WRITE_H
#define FORMATS_GGUF_WRITE_H

#include "base/strbuf.h"
#include "formats/gguf.h"

struct gguf_writer {
    struct strbuf keys, infos;
    uint64_t num_keys, num_tensors;
    uint64_t data_begin; /* where the data begins in the file: of gguf_write_header() */
    uint64_t data_bytes; /* with the zeros behind the last tensor */
};

/* A zeroed struct is empty. */
void gguf_writer_finish(struct gguf_writer *writer);

void gguf_put_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_put_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_put_text(struct gguf_writer *writer, const char *key, const char *text, size_t len);

/* A key of an array; its `num` elements follow, by the calls below. */
void gguf_put_array(struct gguf_writer *writer, const char *key, enum gguf_type type, uint64_t num);
void gguf_add_text(struct gguf_writer *writer, const char *text, size_t len);
void gguf_add_i32(struct gguf_writer *writer, int32_t value);
void gguf_add_f32(struct gguf_writer *writer, float value);

/* As another file has it. */
void gguf_put_value(struct gguf_writer *writer, const struct gguf_value *value);

/*
 * The next tensor of the data. Dimensions are innermost first, the first a multiple of the type's
 * elements.
 *
 * Returns 0; -EINVAL for a name or sizes that no reader would take, -EOVERFLOW.
 */
int gguf_put_tensor(struct gguf_writer *writer, const char *name, enum block_type type,
                    const int64_t *dims, int32_t num_dims, uint64_t *ret_offset,
                    uint64_t *ret_bytes);

/* Write the header at the file's begin and make the file as long as it will be. Returns 0, -ENOMEM
 * or the errno of writing. */
int gguf_write_header(struct gguf_writer *writer, int fd);

#endif
