#include "kernels/backend.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/module.h"

extern const struct backend cpu_backend;

enum { MAX_PATH = 4096 };

/* Beside the executable, as built and as installed. */
static const char *const module_places[] = {
    "kernels/cuda/tokenring-%s.so",
    "tokenring-%s.so",
    "../lib/tokenring/tokenring-%s.so",
};

/* The folder of the running program with a slash, or "" when nobody knows. */
static void program_dir(char *dir, size_t size)
{
    const ssize_t len = readlink("/proc/self/exe", dir, size - 1);
    dir[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[1] = '\0';
}

static int find_module(const char *name, char *path, size_t size, struct error *err)
{
    char dir[MAX_PATH];
    const char *given = getenv("TOKENRING_MODULES");
    if (given != NULL) {
        snprintf(path, size, "%s/tokenring-%s.so", given, name);
        return access(path, R_OK) == 0
                   ? 0
                   : error_set(err, -ENOENT, "%.300s: there is no such module", path);
    }
    program_dir(dir, sizeof(dir));
    for (size_t i = 0; i < sizeof(module_places) / sizeof(module_places[0]); i++) {
        const size_t len = (size_t)snprintf(path, size, "%s", dir);
        snprintf(path + len, size - len, module_places[i], name);
        if (access(path, R_OK) == 0)
            return 0;
    }
    return error_set(err, -ENOENT,
                     "this build has no module tokenring-%s.so beside the program: it was built "
                     "without nvcc",
                     name);
}

/* It stays loaded: its device may have threads of its own. */
static int open_module(const char *name, const struct backend **ret_backend, struct error *err)
{
    char path[2 * MAX_PATH];
    int r = find_module(name, path, sizeof(path), err);
    if (r < 0)
        return r;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return error_set(err, -ELIBACC, "module cannot be loaded: %.400s", dlerror());
    module_function *function;
    *(void **)&function = dlsym(handle, MODULE_SYMBOL);
    const struct backend *backend = function != NULL ? function() : NULL;
    if (backend == NULL || backend->abi != BACKEND_ABI) {
        r = error_set(err, -EPROTO, "%.300s has ABI %u, wanted %d", path,
                      backend != NULL ? backend->abi : 0, BACKEND_ABI);
        dlclose(handle);
        return r;
    }
    *ret_backend = backend;
    return 0;
}

int backend_open(const char *name, const struct backend **ret_backend, struct error *err)
{
    if (strcmp(name, cpu_backend.name) == 0) {
        *ret_backend = &cpu_backend;
        return 0;
    }
    if (strcmp(name, "cuda") == 0)
        return open_module(name, ret_backend, err);
    return error_set(err, -ENOENT, "there is no backend '%s'; there are: cpu, cuda", name);
}
