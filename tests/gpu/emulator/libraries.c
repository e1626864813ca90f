/* No cuBLASLt. */
#include <stdlib.h>

#include "kernels/cuda/lt.h"

int lt_open(const char *libraries, struct memory *memory, struct lt **ret_lt, struct error *err)
{
    (void)libraries;
    (void)memory;
    (void)err;
    *ret_lt = NULL;
    return 0;
}

void lt_close(struct lt *lt)
{
    (void)lt;
}

void lt_multiply(const struct launch *launch, const void *args)
{
    (void)launch;
    (void)args;
    abort();
}
