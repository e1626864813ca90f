/*
 * weight_store.h - all weights of a rank in one sealed memory file
 *
 *     file : struct image | objects, each at a multiple of 64 bytes, in the order of the list
 *
 * The image says what the file holds: key, instruction set, and of each object its form and its
 * place. Who attaches computes the image that it would have made itself and takes the file only
 * when it is the same to the byte; so nothing in the file is believed, and offsets are its own.
 * The file is whole when it is sealed against writing, which happens last.
 *
 * Pages are huge ones where the kernel has them to give (Linux 6.1 collapses pages of memory files
 * on demand); they stay so for whoever attaches. One thread, but for loading (backend.h).
 */
#ifndef KERNELS_CPU_WEIGHT_STORE_H
#define KERNELS_CPU_WEIGHT_STORE_H

#include "kernels/backend.h"

int weight_store_create(struct device *device, const struct store_key *key,
                        const struct store_object *objects, int32_t num_objects,
                        struct weight_store **ret_store, struct error *err);
int weight_store_attach(struct device *device, const struct store_key *key,
                        const struct store_object *objects, int32_t num_objects, int fd,
                        struct weight_store **ret_store, struct error *err);
struct weight *weight_store_weight(struct weight_store *store, int32_t index);
float *weight_store_vector(struct weight_store *store, int32_t index);
int weight_store_seal(struct weight_store *store, int *ret_fd, struct error *err);
void weight_store_close(struct weight_store *store);

#endif
