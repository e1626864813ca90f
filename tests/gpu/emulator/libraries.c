/* No cuBLASLt; and ranks that meet through the engine's own communicator. */
#include <errno.h>
#include <stdlib.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/ranks.h"

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

struct ranks {
    const struct communicator *communicator;
    int error;
};

bool ranks_share_device(const char *ordinals)
{
    (void)ordinals;
    return false;
}

int ranks_open(const char *libraries, const struct communicator *communicator, bool share_device,
               void *stream, struct ranks **ret_ranks, struct error *err)
{
    (void)libraries;
    (void)share_device;
    (void)stream;
    struct ranks *ranks = calloc(1, sizeof(*ranks));
    if (ranks == NULL)
        return error_set(err, -ENOMEM, "no memory for ranks");
    ranks->communicator = communicator;
    *ret_ranks = ranks;
    return 0;
}

void ranks_close(struct ranks *ranks)
{
    free(ranks);
}

int ranks_check(struct ranks *ranks)
{
    return ranks != NULL ? ranks->error : 0;
}

int ranks_abandon(struct ranks *ranks)
{
    return ranks->error = -ETIMEDOUT;
}

int32_t ranks_num(const struct ranks *ranks)
{
    return ranks->communicator->num_ranks;
}

void ranks_all_reduce(const struct launch *launch, const void *args)
{
    (void)launch;
    const struct meet_args *a = args;
    const struct communicator *c = a->ranks->communicator;
    if (a->ranks->error == 0)
        a->ranks->error = c->all_reduce(c->context, a->x, a->num);
}

void ranks_all_gather(const struct launch *launch, const void *args)
{
    (void)launch;
    const struct meet_args *a = args;
    const struct communicator *c = a->ranks->communicator;
    if (a->ranks->error == 0)
        a->ranks->error =
            c->all_gather(c->context, a->gathered, a->x, 1, (int32_t)(a->num * c->num_ranks));
}
