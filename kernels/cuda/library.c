#include "kernels/cuda/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATH = 1024 };

/* Where libraries lie below an installation of Python; %s is the package. */
static const char *const python_places[] = {
    "lib/python3*/site-packages/nvidia/%s/lib",
    "lib/python3*/site-packages/nvidia/cu*/lib",
    "lib/python3*/dist-packages/nvidia/%s/lib",
    "lib/python3*/dist-packages/nvidia/cu*/lib",
};

/* Toolkits and distributions' packages. */
static const char *const toolkit_places[] = {
    "/usr/local/cuda/lib64",
    "/usr/local/cuda*/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
};

static const char *const pythons[] = {
    "/usr/local", "/usr", "/opt/*", "/opt/*/*", "/opt/*/.venv",
};

static void *open_in(const char *folder, const char *const names[])
{
    char path[2 * MAX_PATH];
    void *handle = NULL;
    for (int i = 0; handle == NULL && names[i] != NULL; i++) {
        const int len =
            snprintf(path, sizeof(path), "%s%s%s", folder, folder[0] != '\0' ? "/" : "", names[i]);
        if (len > 0 && (size_t)len < sizeof(path))
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

/* Below a folder as "/usr/local", or a pattern of such. */
static void *open_in_python(const char *root, const char *package, const char *const names[])
{
    char pattern[2 * MAX_PATH];
    void *handle = NULL;
    for (size_t i = 0; handle == NULL && i < sizeof(python_places) / sizeof(python_places[0]);
         i++) {
        const char *place = python_places[i], *gap = strstr(place, "%s");
        const int front = gap != NULL ? (int)(gap - place) : (int)strlen(place);
        snprintf(pattern, sizeof(pattern), "%s/%.*s%s%s", root, front, place,
                 gap != NULL ? package : "", gap != NULL ? gap + 2 : "");
        handle = open_matching(pattern, names);
    }
    return handle;
}

/* Each part of a list with ':' between, as `open` opens it. */
static void *open_in_list(const char *list, const char *behind, const char *package,
                          const char *const names[])
{
    char folder[MAX_PATH];
    void *handle = NULL;
    while (handle == NULL && list != NULL && *list != '\0') {
        const size_t len = strcspn(list, ":");
        snprintf(folder, sizeof(folder), "%.*s%s", (int)len, list, behind);
        if (len > 0 && len + strlen(behind) < sizeof(folder))
            handle =
                package != NULL ? open_in_python(folder, package, names) : open_in(folder, names);
        list += len + (list[len] == ':');
    }
    return handle;
}

/* A virtual environment says where it is, or its programs are found first. */
static void *open_in_environment(const char *package, const char *const names[])
{
    void *handle = open_in_list(getenv("VIRTUAL_ENV"), "", package, names);
    return handle != NULL ? handle : open_in_list(getenv("PATH"), "/..", package, names);
}

void *library_open(const char *folders, const char *package, const char *const names[])
{
    void *handle = folders[0] != '\0' ? open_in_list(folders, "", NULL, names) : open_in("", names);
    if (handle == NULL)
        handle = open_in_environment(package, names);
    for (size_t i = 0; handle == NULL && i < sizeof(toolkit_places) / sizeof(toolkit_places[0]);
         i++)
        handle = open_matching(toolkit_places[i], names);
    for (size_t i = 0; handle == NULL && i < sizeof(pythons) / sizeof(pythons[0]); i++)
        handle = open_in_python(pythons[i], package, names);
    return handle;
}
