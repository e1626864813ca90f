/*
 * library.h - libraries of NVIDIA's that are opened when they are needed
 */
#ifndef KERNELS_CUDA_LIBRARY_H
#define KERNELS_CUDA_LIBRARY_H

/*
 * The first of `names` (NULL at the end) that is found in one of `folders` (':' between, or ""),
 * else by the loader, in $VIRTUAL_ENV or an environment whose programs are on the path, in the
 * toolkit, or in Python's packages as `package` ("cublas", "nccl"). NULL when none is.
 */
void *library_open(const char *folders, const char *package, const char *const names[]);

#endif
