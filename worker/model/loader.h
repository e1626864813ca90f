/*
 * loader.h - bytes of the checkpoint into matrices of the device
 *
 * A matrix is filled from one or more tensors that lie under each other in it. It is cut into
 * blocks of whole panels (32 rows), which threads read and hand to the backend. A block that
 * touches two tensors is one thread's. What lies in the page cache is read with pread; of files
 * that do not, each thread has some blocks on their way (read_ahead.h) while it repacks another.
 * Where the device lends rooms (backend.h), what it takes as the file has it is read into these and
 * copied from there by the device alone.
 */
#ifndef WORKER_MODEL_LOADER_H
#define WORKER_MODEL_LOADER_H

#include <stdatomic.h>

#include "kernels/backend.h"
#include "worker/model/checkpoint.h"
#include "worker/model/read_ahead.h"

struct quant_groups;

/*
 * What becomes num_rows rows of the matrix, from first_row on: the tensor's rows from tensor_row
 * on, and of these the matrix's number of columns from tensor_col on. All of it lies `offset`
 * values into the tensor. Turned, the tensor holds the transpose: what are rows here are columns
 * there.
 */
struct loader_part {
    const struct checkpoint_tensor *tensor;
    int32_t first_row, num_rows;
    int32_t tensor_row, tensor_col;
    int32_t tensor_cols; /* values from row to row as stored; 0: as many as the matrix has */
    int64_t offset;
    bool turned;
    const struct quant_groups *groups; /* of a quantized tensor that stays so, else NULL */
};

struct loader_matrix {
    struct weight *weight;
    enum dtype dtype; /* of the weight: that of its parts, or f32 when they differ */
    int32_t rows, cols;
    size_t row_bytes; /* of a row as it is loaded, where that is not dtype and cols; else 0 */
    const struct loader_part *parts;
    int32_t num_parts;
};

struct loader_options {
    int32_t num_threads; /* the caller's among them */
    enum read_io io;
    _Atomic uint64_t *progress_bytes; /* of the checkpoint; may be NULL */
    bool *ret_direct;                 /* were direct reads used? May be NULL */
};

/*
 * Fill all matrices of a device. Where direct reads are refused, by the file system or the host,
 * buffered ones are made.
 *
 * Returns 0, -ENOMEM, -EIO (a file became shorter) or the errno of reading.
 */
int loader_run(const struct backend *backend, struct device *device,
               const struct loader_matrix *matrices, int32_t num_matrices,
               const struct loader_options *options, struct error *err);

/* Read a part of a tensor of one dimension as float into to[first_row ..]. Errors as above. */
int loader_read_vector(const struct loader_part *part, float *to, struct error *err);

#endif
