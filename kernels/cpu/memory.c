#include "kernels/cpu/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HEADER_BYTES = 64, HUGE_PAGE_BYTES = 2 << 20, MAPPED_FROM_BYTES = 1 << 20 };

/* Lies in the 64 bytes before the memory handed out. */
struct header {
    void *mapping; /* NULL: from aligned_alloc */
    size_t mapping_bytes;
};

_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header fits before the memory");

static struct header *header_of(void *memory)
{
    return (struct header *)(void *)((unsigned char *)memory - HEADER_BYTES);
}

static void *alloc_mapped(size_t bytes)
{
    /* One huge page more, so that the aligned part is long enough wherever the mapping lies. */
    const size_t mapping_bytes = bytes + HEADER_BYTES + HUGE_PAGE_BYTES;
    void *mapping =
        mmap(NULL, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return NULL;

    const uintptr_t mask = HUGE_PAGE_BYTES - 1;
    const size_t skip = (HUGE_PAGE_BYTES - ((uintptr_t)mapping & mask)) & mask;
    unsigned char *start = (unsigned char *)mapping + skip;
    (void)madvise(start, mapping_bytes - skip, MADV_HUGEPAGE); /* only speed depends on it */

    *(struct header *)(void *)start = (struct header){ mapping, mapping_bytes };
    return start + HEADER_BYTES;
}

void *memory_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    if (bytes >= MAPPED_FROM_BYTES)
        return alloc_mapped(bytes);

    const size_t rounded = (bytes + HEADER_BYTES + 63) / 64 * 64;
    unsigned char *start = aligned_alloc(64, rounded);
    if (!start)
        return NULL;
    memset(start, 0, rounded);
    return start + HEADER_BYTES;
}

void memory_free(void *memory)
{
    if (!memory)
        return;
    const struct header header = *header_of(memory);
    if (header.mapping)
        munmap(header.mapping, header.mapping_bytes);
    else
        free(header_of(memory));
}
