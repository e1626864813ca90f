/*
 * inputs.h - what the host gives a step, on its way to the device
 *
 *     fixed  : arrays whose sizes the list of operations decides; equal lists have equal addresses
 *     tables : block tables, parts of attention, tokens of samples: as long as they happen to be
 *
 * Arrays are copied into pinned memory when an operation is recorded, the same array once, and go
 * to the device in two copies when the list is submitted. There are two pinned halves, used in
 * turn: one is filled while the other travels.
 */
#ifndef KERNELS_CUDA_INPUTS_H
#define KERNELS_CUDA_INPUTS_H

#include "kernels/cuda/memory.h"

enum { INPUTS_MAX_ARRAYS = 256, INPUTS_FIXED_ROW = 640 };

struct inputs_array {
    const void *host;
    size_t bytes;
    void *device;
};

struct inputs {
    struct runtime *runtime;
    unsigned char *pinned[2]; /* fixed, then tables */
    unsigned char *device;
    size_t fixed_size, tables_size, fixed_used, tables_used;
    struct inputs_array arrays[INPUTS_MAX_ARRAYS];
    int32_t num_arrays, turn;
    bool is_full; /* something did not fit: the list must not run */
};

int inputs_init(struct inputs *inputs, struct memory *memory, size_t fixed_size,
                size_t tables_size);
void inputs_finish(struct inputs *inputs, struct memory *memory);

/* Turn to the other half, and forget what the one before it held. */
void inputs_begin(struct inputs *inputs);

/* The device's copy of an array, padded with bytes `fill` to `padded_bytes`. */
const void *inputs_array(struct inputs *inputs, const void *host, size_t bytes, size_t padded_bytes,
                         int fill);
/* Room to write into; *ret_device is where it will be. NULL when full. */
void *inputs_fixed(struct inputs *inputs, size_t bytes, void **ret_device);
void *inputs_table(struct inputs *inputs, size_t bytes, int64_t *ret_offset);
unsigned char *inputs_tables(const struct inputs *inputs); /* the device's */

int inputs_send(struct inputs *inputs);

#endif
