/*
 * gguf_maker.h - a small Llama of random blocks as a GGUF file, and the same as f32
 *
 * Widths are multiples of 256, so that every block type fits.
 */
#ifndef TESTS_UNIT_WORKER_GGUF_MAKER_H
#define TESTS_UNIT_WORKER_GGUF_MAKER_H

#include <stdbool.h>

#include "formats/block.h"

/* Write the file with matrices of `type`, or (`widened`) of what these blocks mean, in f32. */
void gguf_maker_write(const char *path, enum block_type type, bool widened);

/* The same with a mixture of types: what is one matrix to the forward differs. */
void gguf_maker_write_mixture(const char *path, bool widened);

#endif
