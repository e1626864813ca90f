#include "kernels/backend.h"

#include <errno.h>
#include <string.h>

extern const struct backend cpu_backend;

static const struct backend *const backends[] = { &cpu_backend };

size_t dtype_bytes(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 4 : 2;
}

const char *dtype_name(enum dtype dtype)
{
    static const char *const names[] = {
        [DTYPE_F32] = "f32", [DTYPE_F16] = "f16", [DTYPE_BF16] = "bf16"
    };
    return names[dtype];
}

int backend_open(const char *name, const struct backend **ret_backend, struct error *err)
{
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        if (strcmp(name, backends[i]->name) != 0)
            continue;
        if (backends[i]->abi != BACKEND_ABI)
            return error_set(err, -EPROTO, "backend %s has ABI %u, wanted %d", name,
                             backends[i]->abi, BACKEND_ABI);
        *ret_backend = backends[i];
        return 0;
    }
    return error_set(err, -ENOENT, "backend '%s' is not built in; there is: cpu", name);
}
