/*
 * block.h - block types: what runs of bytes in a GGUF file mean as numbers
 *
 * A row of a tensor is a whole number of blocks; a block holds 1, 32 or 256 elements. The numbers
 * of enum block_type are the file's. block_widen() evaluates in float in the order of ggml's
 * reference (scale times sub-scale first, then times the integer, then minus the minimum), so that
 * its results are bit for bit those of the `gguf` Python package.
 *
 * Source: ggml's block layouts (ggml-common.h, ggml-quants.c), as data; 16-bit floats are IEEE
 * halves, all fields little-endian. Any thread.
 */
#ifndef FORMATS_BLOCK_H
#define FORMATS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum block_type {
    BLOCK_F32 = 0,
    BLOCK_F16 = 1,
    BLOCK_Q4_0 = 2,
    BLOCK_Q4_1 = 3,
    BLOCK_Q5_0 = 6,
    BLOCK_Q5_1 = 7,
    BLOCK_Q8_0 = 8,
    BLOCK_Q2_K = 10,
    BLOCK_Q3_K = 11,
    BLOCK_Q4_K = 12,
    BLOCK_Q5_K = 13,
    BLOCK_Q6_K = 14,
    BLOCK_BF16 = 30,
};

enum { BLOCK_MAX_ELEMENTS = 256, BLOCK_MAX_TYPES = 40 };

struct block_info {
    const char *name; /* "Q4_K" */
    int32_t elements, bytes;
    void (*widen)(const unsigned char *block, float *to); /* NULL: no type of weights here */
};

/* NULL for a number that names no type, or one that is no longer in use. A type whose `widen` is
 * NULL is known by name and size (bytes 0: by name alone). */
const struct block_info *block_info(uint32_t type);

/* `num_blocks` blocks of a type that has a `widen`, unaligned, as elements * num_blocks floats. */
void block_widen(enum block_type type, const void *from, float *to, size_t num_blocks);

#endif
