/*
 * block_quantize.h - numbers to blocks: the inverse of block_widen(), with loss
 *
 * Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 are bit for bit what the `gguf` Python package makes of the same
 * floats. K-quants search for the least square error: for each sub-block some scales around the
 * obvious one, each followed by the best scale (and minimum) for the integers that it gives; then
 * the scales of 256 elements are rounded together and the integers are taken anew. The result
 * depends on the block alone.
 *
 * Any thread.
 */
#ifndef FORMATS_BLOCK_QUANTIZE_H
#define FORMATS_BLOCK_QUANTIZE_H

#include "formats/block.h"

/* Largest magnitude that every type can hold: what has a scale of 16 bits cannot hold more. */
#define BLOCK_LARGEST 65504.0f

/* Is there a way to make this type? */
bool block_can_quantize(enum block_type type);

/* `num_blocks` blocks of floats, all finite and at most BLOCK_LARGEST in magnitude. */
void block_quantize(enum block_type type, const float *from, void *to, size_t num_blocks);

/* One block each of 256 elements: block_quantize_k.c. */
void block_quantize_q2_k(const float *x, unsigned char *block);
void block_quantize_q3_k(const float *x, unsigned char *block);
void block_quantize_q4_k(const float *x, unsigned char *block);
void block_quantize_q5_k(const float *x, unsigned char *block);
void block_quantize_q6_k(const float *x, unsigned char *block);

#endif
