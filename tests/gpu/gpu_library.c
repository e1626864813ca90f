/* Where NVIDIA's libraries are found: any shared library plays their part. */
#include <check.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/library.h"
#include "tests/unit/runner.h"

static const char *const names[] = { "libplays-nccl.so.2", NULL };
static char root[] = "/tmp/gpu_library_XXXXXX", path[600];

/* A link to some library, in folders that are made. */
static void put(const char *folder)
{
    char command[600];
    Dl_info info;
    ck_assert(dladdr((void *)(uintptr_t)dlopen, &info) != 0);
    snprintf(command, sizeof(command), "mkdir -p '%s/%s'", root, folder);
    ck_assert_int_eq(system(command), 0);
    snprintf(path, sizeof(path), "%s/%s/%s", root, folder, names[0]);
    ck_assert_int_eq(symlink(info.dli_fname, path), 0);
}

static void make_root(void)
{
    snprintf(root, sizeof(root), "/tmp/gpu_library_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    unsetenv("VIRTUAL_ENV");
    setenv("PATH", "/usr/bin:/bin", 1);
}

static void remove_root(void)
{
    char command[64];
    setenv("PATH", "/usr/bin:/bin", 1);
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    (void)!system(command);
}

START_TEST(what_is_nowhere_is_not_found)
{
    ck_assert_ptr_null(library_open("", "nccl", names));
    ck_assert_ptr_null(library_open(root, "nccl", names));
}
END_TEST

START_TEST(each_of_the_given_folders_is_looked_into)
{
    char folders[200];
    put("b");
    snprintf(folders, sizeof(folders), "%s/a:%s/b", root, root);
    ck_assert_ptr_nonnull(library_open(folders, "nccl", names));
}
END_TEST

START_TEST(a_virtual_environment_that_says_so_has_packages)
{
    put("lib/python3.12/site-packages/nvidia/nccl/lib");
    setenv("VIRTUAL_ENV", root, 1);
    ck_assert_ptr_nonnull(library_open("", "nccl", names));
    ck_assert_ptr_null(library_open("", "cublas", names));
}
END_TEST

START_TEST(an_environment_whose_programs_come_first_has_them_too)
{
    char paths[200];
    put("lib/python3.12/site-packages/nvidia/cu13/lib");
    snprintf(paths, sizeof(paths), "/usr/bin:%s/bin:/bin", root);
    ck_assert_int_eq(mkdir(strcat(strcpy(path, root), "/bin"), 0755), 0);
    setenv("PATH", paths, 1);
    ck_assert_ptr_nonnull(library_open("", "cublas", names));
}
END_TEST

RUN_SUITE_AROUND("gpu_library", make_root, remove_root, what_is_nowhere_is_not_found,
                 each_of_the_given_folders_is_looked_into,
                 a_virtual_environment_that_says_so_has_packages,
                 an_environment_whose_programs_come_first_has_them_too)
