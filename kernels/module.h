/*
 * module.h - what a backend in a module exports: one function, and nothing else
 */
#ifndef KERNELS_MODULE_H
#define KERNELS_MODULE_H

#include "kernels/backend.h"

#define MODULE_SYMBOL "tokenring_backend"

/* The first field of what it returns is the ABI's number, in every version. */
typedef const struct backend *module_function(void);

#endif
