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

/* 0 with *ret_lt NULL when there is no library: kernels of our own do. -EPROTO for one that lacks
 * a function or cannot be used. */
int lt_open(const char *libraries, struct memory *memory, struct lt **ret_lt, struct error *err);
void lt_close(struct lt *lt); /* accepts NULL */

/* x and weights of one 16-bit kind, or both f32; out f32. */
launch_function lt_multiply;

#endif
