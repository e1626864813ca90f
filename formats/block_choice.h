/*
 * block_choice.h - which type a matrix gets when a model is quantized
 *
 * Matrices get the type asked for. The output matrix (or the embedding where it serves as that)
 * loses least: Q6_K with types of fewer bits. A width that is no multiple of a type's block takes
 * the next type whose blocks fit, as llama.cpp does: Q4_K Q5_0, Q5_K Q5_1, Q6_K Q8_0, Q2_K and Q3_K
 * Q4_0, and F16 where 32 does not fit either. Any thread.
 */
#ifndef FORMATS_BLOCK_CHOICE_H
#define FORMATS_BLOCK_CHOICE_H

#include "formats/block.h"

/* "q4_k" and so on: -1 for a name of no type that weights can be written in. */
int block_choice_named(const char *name);

/* The type, or the first behind it whose blocks fit the width. */
enum block_type block_choice_fit(enum block_type type, int64_t width);

/* What the output matrix gets. */
enum block_type block_choice_output(enum block_type type);

/* general.file_type of a file whose matrices are mostly so. */
uint32_t block_choice_file_type(enum block_type type);

#endif
