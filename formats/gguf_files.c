/* Split models: "<base>-00001-of-00003.gguf" and its siblings, by name and not by metadata. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_value.h"

enum { SUFFIX = sizeof("-00001-of-00003.gguf") - 1 };

/* Five digits. */
static int read_number(const char *at)
{
    int number = 0;
    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)at[i]))
            return -1;
        number = 10 * number + (at[i] - '0');
    }
    return number;
}

/* The length of what precedes "-00001-of-0000N.gguf", and N; 0 for another name. */
static size_t split_name(const char *path, int *ret_no, int *ret_count)
{
    const size_t len = strlen(path);
    if (len < SUFFIX)
        return 0;
    const char *end = path + len - SUFFIX;
    if (end[0] != '-' || memcmp(end + 6, "-of-", 4) != 0 || memcmp(end + 15, ".gguf", 5) != 0)
        return 0;
    *ret_no = read_number(end + 1);
    *ret_count = read_number(end + 10);
    return *ret_no > 0 && *ret_count >= *ret_no ? len - SUFFIX : 0;
}

static int check_part(const struct gguf *gguf, const char *path, int index, int count,
                      struct error *err)
{
    int64_t no = index, num = count;
    int r = gguf_int(gguf, "split.no", 0, GGUF_MAX_FILES, &no, err);
    if (r >= 0)
        r = gguf_int(gguf, "split.count", 0, GGUF_MAX_FILES, &num, err);
    if (r < 0)
        return r;
    if (no != index || (num != count && !(num == 0 && count == 1)))
        return error_set(err, -EINVAL, "%.200s: split.no is %d of %d, its name says %d of %d", path,
                         (int)no, (int)num, index, count);
    return 0;
}

static int open_part(struct gguf_files *files, const char *path, int index, int count,
                     struct error *err)
{
    const int r = gguf_open(path, &files->files[index], err);
    if (r < 0)
        return r;
    files->num = index + 1;
    return check_part(&files->files[index], path, index, count, err);
}

static int open_parts(struct gguf_files *files, const char *path, size_t base_len, int count,
                      struct error *err)
{
    char name[PATH_MAX];
    int r = 0;
    for (int i = 0; r == 0 && i < count; i++) {
        if (base_len == 0)
            return open_part(files, path, 0, 1, err);
        if (snprintf(name, sizeof(name), "%.*s-%05d-of-%05d.gguf", (int)base_len, path, i + 1,
                     count) >= (int)sizeof(name))
            return error_set(err, -ENAMETOOLONG, "%.200s...: the path is too long", path);
        r = open_part(files, name, i, count, err);
    }
    return r;
}

static int compare_names(const void *left, const void *right)
{
    const struct gguf_tensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static int refuse_twice(const struct gguf_files *files, struct error *err)
{
    size_t num = 0, at = 0;
    int r = 0;
    for (int32_t f = 0; f < files->num; f++)
        num += (size_t)files->files[f].num_tensors;
    const struct gguf_tensor **sorted = calloc(num + 1, sizeof(*sorted));
    if (sorted == NULL)
        return error_set(err, -ENOMEM, "no memory for %zu tensors", num);
    for (int32_t f = 0; f < files->num; f++)
        for (int32_t t = 0; t < files->files[f].num_tensors; t++)
            sorted[at++] = &files->files[f].tensors[t];
    qsort(sorted, num, sizeof(const struct gguf_tensor *), compare_names);
    for (size_t i = 1; r == 0 && i < num; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            r = error_set(err, -EINVAL, "tensor %s is in two files of the model", sorted[i]->name);
    free(sorted);
    return r;
}

int gguf_files_open(const char *path, struct gguf_files *ret_files, struct error *err)
{
    int no = 1, count = 1;
    const size_t base_len = split_name(path, &no, &count);
    struct gguf_files files = { 0 };
    if (count > GGUF_MAX_FILES)
        return error_set(err, -EINVAL, "%.200s: a model in %d files, wanted at most %d", path,
                         count, GGUF_MAX_FILES);
    if (base_len == 0)
        count = 1;
    files.files = calloc((size_t)count, sizeof(*files.files));
    if (files.files == NULL)
        return error_set(err, -ENOMEM, "no memory for %d files", count);
    int r = open_parts(&files, path, base_len, count, err);
    if (r == 0)
        r = refuse_twice(&files, err);
    if (r < 0) {
        gguf_files_close(&files);
        return r;
    }
    *ret_files = files;
    return 0;
}

void gguf_files_close(struct gguf_files *files)
{
    for (int32_t i = 0; i < files->num; i++)
        gguf_close(&files->files[i]);
    free(files->files);
    *files = (struct gguf_files){ 0 };
}

const struct gguf_tensor *gguf_files_find(const struct gguf_files *files, const char *name,
                                          const struct gguf **ret_file)
{
    for (int32_t f = 0; f < files->num; f++)
        for (int32_t t = 0; t < files->files[f].num_tensors; t++)
            if (strcmp(files->files[f].tensors[t].name, name) == 0) {
                *ret_file = &files->files[f];
                return &files->files[f].tensors[t];
            }
    return NULL;
}
