#include "worker/reserve.h"

#include <sys/mman.h>

void *reserve_array(struct reserve *reserve, size_t num, size_t size)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    size_t bytes;

    if (reserve->num_arrays == RESERVE_MAX_ARRAYS || __builtin_mul_overflow(num, size, &bytes))
        return NULL;
    bytes = bytes > 0 ? bytes : 1;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    reserve->arrays[reserve->num_arrays].base = base;
    reserve->arrays[reserve->num_arrays++].size = bytes;
    reserve->num_bytes += bytes;
    return base;
}

void reserve_finish(struct reserve *reserve)
{
    for (int i = 0; i < reserve->num_arrays; i++)
        munmap(reserve->arrays[i].base, reserve->arrays[i].size);
    *reserve = (struct reserve){ 0 };
}
