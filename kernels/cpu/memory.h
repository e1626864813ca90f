/*
 * memory.h - zeroed, 64-byte aligned memory, in huge pages where it is large
 *
 * Large pieces are anonymous mappings aligned to 2 MiB with MADV_HUGEPAGE: a weight matrix is
 * read once per step, and 4 KiB pages would cost a TLB miss per page. Any thread.
 */
#ifndef KERNELS_CPU_MEMORY_H
#define KERNELS_CPU_MEMORY_H

#include <stddef.h>

void *memory_alloc(size_t bytes); /* NULL when there is none; 0 bytes give a pointer to free */
void memory_free(void *memory);   /* accepts NULL */

#endif
