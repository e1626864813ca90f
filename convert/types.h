/*
 * types.h - which type each tensor gets
 *
 * Matrices get the type asked for; vectors, and what chooses experts, stay F32. The output matrix
 * (or the embedding where it serves as that) loses least: Q6_K with types of fewer bits. A width
 * that is no multiple of a type's block takes the next wider type whose blocks fit, as llama.cpp
 * does: Q2_K and Q3_K Q4_0, Q4_K Q5_0, Q5_K Q5_1, Q6_K Q8_0, and F16 where 32 does not fit either.
 */
#ifndef CONVERT_TYPES_H
#define CONVERT_TYPES_H

#include "convert/convert.h"
#include "convert/source.h"

/* Sets `to` of all tensors; notes those that differ from the type for their widths' sake. */
void convert_types(struct convert_source *source, const struct convert_options *options);

/* general.file_type of a file whose matrices are mostly so. */
uint32_t convert_file_type(enum block_type type);

#endif
