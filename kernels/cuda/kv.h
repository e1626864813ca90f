/*
 * kv.h - pages of keys and values in the device's memory; their layout is struct pages of ops.h
 *
 * Both K and V lie position by position: a page of one head is one run, and 16 bytes of a position
 * are one load. Their types and how they are rounded are backend.h's.
 */
#ifndef KERNELS_CUDA_KV_H
#define KERNELS_CUDA_KV_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

struct kv_pool {
    struct device *device;
    struct pages pages;
    size_t block_bytes;
};

int kv_alloc(struct device *device, const struct kv_layout *layout, int32_t num_blocks,
             struct kv_pool **ret_pool, struct error *err);
void kv_free(struct kv_pool *pool);

#endif
