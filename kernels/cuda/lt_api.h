/*
 * lt_api.h - the part of cuBLASLt's interface that is used
 *
 * Its library is found at run time, so that nothing of it is needed to build the module; where the
 * toolkit has its header, lt_api.c holds the numbers against it. The emulator has the same table
 * with functions of its own.
 */
#ifndef KERNELS_CUDA_LT_API_H
#define KERNELS_CUDA_LT_API_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum lt_status { LT_SUCCESS, LT_INVALID_VALUE = 7, LT_NOT_SUPPORTED = 15 };
enum lt_type { LT_F32 = 0, LT_F16 = 2, LT_BF16 = 14, LT_E4M3 = 28 };
enum lt_compute { LT_COMPUTE_F32 = 68 };
enum lt_transform { LT_PLAIN, LT_TURNED };

/* Of an operation; all but the pointers are 32 bits, fast accumulation is a byte. */
enum lt_attribute {
    LT_TRANSFORM_A = 3,
    LT_TRANSFORM_B = 4,
    LT_SCALES_A = 17, /* a pointer of the device, of 16 bytes' alignment */
    LT_SCALES_B = 18,
    LT_FAST_ACCUMULATION = 25,
    LT_SCALING_A = 31, /* enum lt_scaling */
    LT_SCALING_B = 32,
};

/* What scales, of f32, belong to, where A is [m x k] and B [k x n] as multiplied. */
enum lt_scaling {
    LT_SCALING_TENSOR = 0, /* one number */
    LT_SCALING_ROWS = 3,   /* A: [m], B: [n] */
    LT_SCALING_RUNS = 4,   /* 128 along k: A: [ceil(k / 128)][m], B: [ceil(k / 128)][n] */
    LT_SCALING_BLOCKS = 5, /* 128 x 128: [ceil(m / 128)][ceil(k / 128) rounded up to 4] */
};

enum { LT_WORKSPACE_BYTES = 1 }; /* of a preference, 64 bits */

enum { LT_RUN = 128, LT_VERSION_OF_SCALINGS = 120900 };

struct lt_algorithm {
    uint64_t data[8];
};

struct lt_choice {
    struct lt_algorithm algorithm;
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
};

/* By the names of the library's functions. Streams are cudaStream_t; results are enum lt_status. */
struct lt_api {
    size_t (*version)(void); /* 10000 major + 100 minor + patch */
    int (*create)(void **ret_handle);
    int (*destroy)(void *handle);
    int (*operation_create)(void **ret_operation, int compute, int scale_type);
    int (*operation_destroy)(void *operation);
    int (*operation_set)(void *operation, int attribute, const void *value, size_t bytes);
    int (*layout_create)(void **ret_layout, int type, uint64_t rows, uint64_t cols, int64_t stride);
    int (*layout_destroy)(void *layout);
    int (*preference_create)(void **ret_preference);
    int (*preference_destroy)(void *preference);
    int (*preference_set)(void *preference, int attribute, const void *value, size_t bytes);
    int (*choose)(void *handle, void *operation, void *a, void *b, void *c, void *d,
                  void *preference, int wanted, struct lt_choice *ret_choices, int *ret_num);
    int (*multiply)(void *handle, void *operation, const void *alpha, const void *a, void *a_layout,
                    const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                    void *d, void *d_layout, const struct lt_algorithm *algorithm, void *workspace,
                    size_t workspace_bytes, void *stream);
};

/* 1; 0 where there is no library; -EPROTO for one that lacks a function. */
int lt_api_open(const char *libraries, struct lt_api *ret_api, struct error *err);

#endif
