#include "kernels/cuda/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_PATH = 1024 };

/* Where packages lie: %s is the package, "*" whatever Python and CUDA there are. */
static const char *const package_places[] = {
    "/usr/local/cuda/lib64",
    "/usr/local/cuda*/lib64",
    "/usr/local/lib/python3*/*-packages/nvidia/%s/lib",
    "/usr/local/lib/python3*/*-packages/nvidia/cu*/lib",
    "/usr/lib/python3*/*-packages/nvidia/%s/lib",
    "/usr/lib/python3/dist-packages/nvidia/%s/lib",
    "/opt/*/lib/python3*/site-packages/nvidia/%s/lib",
    "/opt/*/lib/python3*/site-packages/nvidia/cu*/lib",
};

static void *open_in(const char *folder, const char *const names[])
{
    char path[MAX_PATH];
    void *handle = NULL;
    for (int i = 0; handle == NULL && names[i] != NULL; i++) {
        snprintf(path, sizeof(path), "%s%s%s", folder, folder[0] != '\0' ? "/" : "", names[i]);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return handle;
}

static void *open_matching(const char *pattern, const char *const names[])
{
    glob_t found;
    void *handle = NULL;
    if (glob(pattern, 0, NULL, &found) != 0)
        return NULL;
    for (size_t i = found.gl_pathc; handle == NULL && i-- > 0;) /* the newest first */
        handle = open_in(found.gl_pathv[i], names);
    globfree(&found);
    return handle;
}

/* A virtual environment says where it is. */
static void *open_in_environment(const char *package, const char *const names[])
{
    const char *home = getenv("VIRTUAL_ENV");
    char pattern[MAX_PATH];
    if (home == NULL)
        return NULL;
    snprintf(pattern, sizeof(pattern), "%s/lib/python3*/site-packages/nvidia/%s/lib", home,
             package);
    void *handle = open_matching(pattern, names);
    snprintf(pattern, sizeof(pattern), "%s/lib/python3*/site-packages/nvidia/cu*/lib", home);
    return handle != NULL ? handle : open_matching(pattern, names);
}

void *library_open(const char *folder, const char *package, const char *const names[])
{
    char pattern[MAX_PATH];
    void *handle = folder[0] != '\0' ? open_in(folder, names) : NULL;
    if (handle == NULL && folder[0] == '\0')
        handle = open_in("", names);
    if (handle == NULL)
        handle = open_in_environment(package, names);
    for (size_t i = 0; handle == NULL && i < sizeof(package_places) / sizeof(*package_places);
         i++) {
        const char *place = package_places[i];
        size_t len = 0;
        for (; *place != '\0' && len + 64 < sizeof(pattern); place++)
            if (place[0] == '%' && place[1] == 's') {
                len += (size_t)snprintf(pattern + len, sizeof(pattern) - len, "%s", package);
                place++;
            } else {
                pattern[len++] = *place;
            }
        pattern[len] = '\0';
        handle = open_matching(pattern, names);
    }
    return handle;
}
