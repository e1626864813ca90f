/*
 * gguf.h - a GGUF file: header checked as a whole, data read on demand
 *
 *     "GGUF" | u32 version | u64 tensors | u64 keys
 *     keys:    string name, u32 type, value          string: u64 length, bytes
 *     tensors: string name, u32 dims, u64 dim[], u32 type, u64 offset
 *     zeros up to a multiple of general.alignment | data
 *
 * Versions 2 and 3, little-endian. A file is accepted only if every length, count and offset lies
 * within it, no name occurs twice, and the tensors follow each other in the data without gap or
 * overlap. Nothing is mapped: a file that becomes shorter while it is read gives an error and no
 * signal.
 *
 * Source: the GGUF specification (ggml, docs/gguf.md). Limits: header 128 MiB, 65,536 keys and
 * tensors each, strings 64 MiB, arrays 16 Mi elements. Threads: an open file may be read by
 * several.
 */
#ifndef FORMATS_GGUF_H
#define FORMATS_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "formats/block.h"

enum { GGUF_MAX_DIMS = 4, GGUF_MAX_TENSORS = 65536, GGUF_MAX_KEYS = 65536, GGUF_MAX_FILES = 512 };

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_NUM_TYPES,
};

/* A value in the file's own bytes; gguf_value.h reads it. */
struct gguf_value {
    const char *key;
    uint32_t type; /* of the elements where is_array */
    bool is_array;
    uint64_t num;            /* elements; 1 where it is no array */
    const unsigned char *at; /* the first element, strings with their lengths */
    const unsigned char *end;
};

struct gguf_tensor {
    const char *name;
    uint32_t type; /* enum block_type */
    const struct block_info *info;
    int32_t num_dims;
    int64_t dims[GGUF_MAX_DIMS]; /* innermost first */
    uint64_t offset, bytes;      /* in the data */
};

struct gguf {
    int fd;
    uint32_t version, alignment;
    uint64_t data_begin; /* where the data begins in the file */
    uint64_t data_bytes;
    uint64_t hash; /* of header, file size and time of change */
    int32_t num_values;
    struct gguf_value *values; /* by key */
    int32_t num_tensors;
    struct gguf_tensor *tensors; /* in the order of the file */
    unsigned char *header;       /* what values point into */
    struct arena arena;
};

/*
 * Check the header in the first `len` bytes of a file of `file_bytes`. Values point into `bytes`;
 * memory comes from gguf->arena, which the caller has initialised.
 *
 * Returns 0; -EAGAIN when the header goes on behind `len`; -EINVAL with the key or tensor, the byte
 * it is at, what was found and what was wanted; -ENOTSUP (version, byte order, block type);
 * -ENOMEM.
 */
int gguf_parse(const unsigned char *bytes, size_t len, uint64_t file_bytes, struct gguf *gguf,
               struct error *err);

/* Does the file begin as a GGUF file does? False for what cannot be read. */
bool gguf_is_file(const char *path);

/* Errors are as above with the path in front, or the errno of opening and reading. */
int gguf_open(const char *path, struct gguf *ret_gguf, struct error *err);
void gguf_close(struct gguf *gguf); /* accepts one with fd -1 */

/* Read `bytes` of a tensor from its byte `offset` on. Returns 0, -EINVAL, -EIO, or the errno. */
int gguf_read(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t offset, void *to,
              size_t bytes);

/* A model in one file or, by names that end in "-00001-of-0000N.gguf", in N. */
struct gguf_files {
    int32_t num;
    struct gguf *files; /* [num]; the first has the model's keys */
};

/*
 * Open the file and, where its name and its split.count say so, all the others.
 *
 * Returns as gguf_open(); -EINVAL when names and counts disagree or a tensor is in two files.
 */
int gguf_files_open(const char *path, struct gguf_files *ret_files, struct error *err);
void gguf_files_close(struct gguf_files *files); /* accepts a zeroed struct */

/* NULL when there is none of that name; *ret_file is where it lies. */
const struct gguf_tensor *gguf_files_find(const struct gguf_files *files, const char *name,
                                          const struct gguf **ret_file);

#endif
