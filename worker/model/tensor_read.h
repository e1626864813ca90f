/*
 * tensor_read.h - values of a checkpoint's tensor, from the file to what a matrix is loaded from
 *
 * Tensors are stored plainly or in blocks (formats/block.h), their rows in order or interleaved
 * within heads; what is asked for is always rows in order. Any thread.
 */
#ifndef WORKER_MODEL_TENSOR_READ_H
#define WORKER_MODEL_TENSOR_READ_H

#include "worker/model/loader.h"

/*
 * Add what tensor_read() of some rows of a part reads to a list: of interleaved rows whole heads,
 * of cut columns and transposes a range for each row or column. The caller sorts the list.
 */
void tensor_list(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                 struct read_list *list);

/*
 * Read `num_rows` rows of `cols` values of a part, from its row `row` on, as `as`: the type the
 * tensor's dtype names, f32, of blocks f16, or a type that plain values are rounded to (requant.h).
 * In a type of blocks `cols` and the part's first column are whole blocks. The buffer has room for
 * as many floats, whatever `as` is. What lies in `window`, which may be NULL, is taken from there.
 *
 * Returns 0, -EIO, -ENOMEM, -ERANGE (a value that the type cannot hold) or the errno of
 * reading.
 */
int tensor_read(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                enum dtype as, const struct read_window *window, void *buffer);

/*
 * Where rows lie in a window just as tensor_read() would give them, *ret_stride bytes from one to
 * the next. NULL where they have to be read, put in order or converted first.
 */
const unsigned char *tensor_find(const struct loader_part *part, int32_t cols, int32_t row,
                                 int32_t num_rows, enum dtype as, const struct read_window *window,
                                 size_t *ret_stride);

/* Bytes that `num` values take in the file; whole blocks. */
uint64_t tensor_stored_bytes(const struct safetensors_dtype *dtype, uint64_t num);

#endif
