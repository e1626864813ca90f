/*
 * lt.h - products of many rows by cuBLASLt, which is opened when there is one
 *
 * The library is looked for in the folder given, in the toolkit, where the loader finds it, and in
 * Python's nvidia packages. It chooses kernels by shape, so bits depend on the number of rows.
 */
#ifndef KERNELS_CUDA_LT_H
#define KERNELS_CUDA_LT_H

#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops.h"

struct lt;
struct lt_args;

/* 0 with *ret_lt NULL when there is no library: kernels of our own do. -EPROTO for one that lacks
 * a function or cannot be used. */
int lt_open(const char *libraries, struct memory *memory, struct lt **ret_lt, struct error *err);
void lt_close(struct lt *lt); /* accepts NULL */

/* Does it multiply E4M3 by E4M3 with scales of rows and of blocks, on a GPU of this architecture?
 * Since 12.9 and on Hopper alone. */
bool lt_rounds(const struct lt *lt, int32_t arch);

/* Does it take a product with `codes`? The first of a shape asks the library. */
bool lt_suits(struct lt *lt, const struct lt_args *args);

/* x and weights of one 16-bit kind, or both f32; or rows of E4M3 and codes. out f32. */
launch_function lt_multiply;

#endif
