/*
 * safetensors.h - one file of tensors: header checked as a whole, data read on demand
 *
 *     u64 N | N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}} | data
 *
 * A file is accepted only if its tensors cover the data without gap, overlap or tail and every
 * shape times its dtype is exactly the bytes it claims. Nothing is mapped: a file that becomes
 * shorter while it is read gives an error and no signal.
 *
 * Source: the safetensors format description; limits: header 100 MB, 100,000 tensors, rank 8.
 * Threads: a file that is open may be read by several.
 */
#ifndef WORKER_MODEL_SAFETENSORS_H
#define WORKER_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "formats/block.h"
#include "kernels/backend.h"

enum { SAFETENSORS_MAX_RANK = 8, SAFETENSORS_MAX_TENSORS = 100000 };

struct quant_tensor;

struct safetensors_dtype {
    const char *name; /* "BF16" */
    int32_t bits;
    bool is_weight; /* a matrix may have it: then `dtype` says as what */
    enum dtype dtype;
    const struct block_info *block; /* stored in blocks of numbers, or NULL */
};

struct safetensors_tensor {
    const char *name;
    const struct safetensors_dtype *dtype;
    int32_t rank;
    int64_t shape[SAFETENSORS_MAX_RANK]; /* outermost first */
    uint64_t begin, end;                 /* of its bytes, in the data */
    bool holds_one;                   /* where others store a distance from 1, this is the value */
    const struct quant_tensor *quant; /* made of several (quant_tensors.h), or NULL */
    int32_t head_rows; /* > 0: interleaved rows (tensor_read.h) of heads of so many */
};

struct safetensors {
    int fd;
    uint64_t data_begin; /* where the data begins in the file */
    uint64_t data_bytes;
    uint64_t hash; /* of header, file size and time of change */
    int32_t num_tensors;
    struct safetensors_tensor *tensors; /* in the order of their bytes */
    struct arena arena;
};

/*
 * Check the first 8 bytes of a file of `file_bytes` bytes.
 *
 * Returns 0 or -EINVAL.
 */
int safetensors_header_bytes(const unsigned char first[8], uint64_t file_bytes,
                             uint64_t *ret_header_bytes, struct error *err);

/*
 * Check a header against the number of bytes behind it and list its tensors in memory of `arena`.
 *
 * Returns 0, -EINVAL, -ENOTSUP (a dtype that is not known), -ENOMEM.
 */
int safetensors_parse(const char *header, size_t header_bytes, uint64_t data_bytes,
                      struct arena *arena, struct safetensors_tensor **ret_tensors,
                      int32_t *ret_num_tensors, struct error *err);

/* Open `name` in the directory `dir_fd` (links are followed; it must be a regular file) and check
 * its header. Errors are as above with the file's name in front, or the errno of opening. */
int safetensors_open(int dir_fd, const char *name, struct safetensors *ret_file, struct error *err);
void safetensors_close(struct safetensors *file); /* accepts one with fd -1 */

/* Read `bytes` of the tensor from its byte `offset` on. Returns 0, -EIO, or the errno of reading.
 */
int safetensors_read(const struct safetensors *file, const struct safetensors_tensor *tensor,
                     uint64_t offset, void *to, size_t bytes);

#endif
