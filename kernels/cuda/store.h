/*
 * store.h - all weights of a rank in one piece of the device's memory
 */
#ifndef KERNELS_CUDA_STORE_H
#define KERNELS_CUDA_STORE_H

#include "kernels/backend.h"

int store_create(struct device *device, const struct store_key *key,
                 const struct store_object *objects, int32_t num_objects,
                 struct weight_store **ret_store, struct error *err);
int store_attach(struct device *device, const struct store_key *key,
                 const struct store_object *objects, int32_t num_objects, int fd,
                 struct weight_store **ret_store, struct error *err);
struct weight *store_weight(struct weight_store *store, int32_t index);
float *store_vector(struct weight_store *store, int32_t index);
int store_seal(struct weight_store *store, int *ret_fd, struct error *err);
void store_close(struct weight_store *store);

#endif
