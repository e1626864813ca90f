/*
 * library.h - libraries of NVIDIA's that are opened when they are needed
 */
#ifndef KERNELS_CUDA_LIBRARY_H
#define KERNELS_CUDA_LIBRARY_H

/*
 * The first of `names` (NULL at the end) that is found in `folder` (or ""), by the loader, in the
 * toolkit, or in Python's packages as `package` ("cublas", "nccl"). NULL when none is.
 */
void *library_open(const char *folder, const char *package, const char *const names[]);

#endif
