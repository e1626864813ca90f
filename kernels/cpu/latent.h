/*
 * latent.h - compressed keys and values (MLA) into the pool
 */
#ifndef KERNELS_CPU_LATENT_H
#define KERNELS_CPU_LATENT_H

#include "kernels/backend.h"

void latent_write(struct device *device, const struct latent_write *args, int32_t rows);

#endif
