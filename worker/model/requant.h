/*
 * requant.h - matrices of a plain checkpoint that are kept in another type: --quantization
 *
 * The same types and the same rounding as `tokenring quantize` gives a file, so a model has the
 * same bits either way. FP8 has one scale a row. What is quantized already stays as it is. Any
 * thread.
 */
#ifndef WORKER_MODEL_REQUANT_H
#define WORKER_MODEL_REQUANT_H

#include "worker/families/family.h"

/* What model_options.quantization is to be: the name, or NULL of "auto". */
const char *requant_named(const char *name);

/* What a row of the family in a layer, `cols` wide, is kept as under that name, which may be NULL:
 * DTYPE_F32 where it stays what it is. */
enum dtype requant_dtype(const char *name, const struct arch *whole, const struct weight_row *row,
                         int32_t layer, int32_t cols);

/* Rows of floats become rows of the type in place. Returns 0, or -ERANGE for a value that is not
 * finite or beyond what the type holds. */
int requant_rows(enum dtype dtype, int32_t rows, int32_t cols, void *buffer);

/* The scale of a row: a group of all columns. `groups` has `cols` zeros. */
struct scaling requant_scaling(const int32_t *groups);

#endif
