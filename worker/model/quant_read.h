/*
 * quant_read.h - rows of a quantized matrix, from the checkpoint's packing to what is loaded
 *
 * Whatever the packing, a row is what backend.h says of weights with scales: q in the order of
 * inputs, scales, zeros. Or it is what these mean, as float. Any thread.
 */
#ifndef WORKER_MODEL_QUANT_READ_H
#define WORKER_MODEL_QUANT_READ_H

#include "worker/model/loader.h"

/*
 * Read `num_rows` rows of `cols` values of a part of a quantized tensor, from its row `row` on, as
 * `as`: the tensor's own type, with the groups of part->groups, or DTYPE_F32. What `window` (may be
 * NULL) has is taken from there.
 *
 * Returns 0, -EIO, -ENOMEM or the errno of reading.
 */
int quant_read(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
               enum dtype as, const struct read_window *window, void *buffer);

/* Add what quant_read() of these rows reads to the list; read_list_sort() is the caller's. */
void quant_list(const struct loader_part *part, int32_t cols, int32_t row, int32_t num_rows,
                struct read_list *list);

#endif
