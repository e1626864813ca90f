#include "worker/model/checkpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "worker/model/gguf_checkpoint.h"

enum { MAX_INDEX_BYTES = 64 << 20, MAX_NAME = 255 };

static const char index_name[] = "model.safetensors.index.json";
static const char single_name[] = "model.safetensors";
static const char consolidated_name[] = "consolidated.safetensors";

static bool has_suffix(const char *text, const char *suffix)
{
    const size_t len = strlen(text), end = strlen(suffix);
    return len > end && strcmp(text + len - end, suffix) == 0;
}

/* [A-Za-z0-9._-]+.safetensors, not beginning with a dot: nothing that leaves the directory. */
static bool is_plain_name(const char *name)
{
    if (name[0] == '.' || strlen(name) > MAX_NAME || !has_suffix(name, ".safetensors"))
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL)
            return false;
    return true;
}

static bool is_open(const struct checkpoint *c, const char *name)
{
    for (int32_t i = 0; i < c->num_files; i++)
        if (strcmp(c->file_names[i], name) == 0)
            return true;
    return false;
}

static int add_file(struct checkpoint *c, int dir_fd, const char *name, struct error *err)
{
    if (is_open(c, name))
        return 0;
    if (c->num_files == CHECKPOINT_MAX_FILES)
        return error_set(err, -EINVAL, "more than %d files of weights", CHECKPOINT_MAX_FILES);
    char *copy = strdup(name);
    if (copy == NULL)
        return error_set(err, -ENOMEM, "no memory for the name of a file");
    const int r = safetensors_open(dir_fd, name, &c->files[c->num_files], err);
    if (r < 0) {
        free(copy);
        return r;
    }
    c->file_names[c->num_files++] = copy;
    return 0;
}

static int compare_names(const void *left, const void *right)
{
    const struct checkpoint_tensor *a = left, *b = right;
    return strcmp(a->info->name, b->info->name);
}

void checkpoint_sort(struct checkpoint *checkpoint)
{
    qsort(checkpoint->tensors, (size_t)checkpoint->num_tensors, sizeof(*checkpoint->tensors),
          compare_names);
}

/* All tensors of all open files, sorted; names may repeat. */
static int list_tensors(struct checkpoint *c, struct error *err)
{
    size_t num = 0;
    for (int32_t f = 0; f < c->num_files; f++)
        num += (size_t)c->files[f].num_tensors;
    c->tensors = calloc(num + 1, sizeof(*c->tensors));
    if (c->tensors == NULL)
        return error_set(err, -ENOMEM, "no memory for %zu tensors", num);
    c->num_tensors = 0;
    for (int32_t f = 0; f < c->num_files; f++)
        for (int32_t t = 0; t < c->files[f].num_tensors; t++)
            c->tensors[c->num_tensors++] =
                (struct checkpoint_tensor){ .info = &c->files[f].tensors[t], .file = &c->files[f] };
    checkpoint_sort(c);
    return 0;
}

static int refuse_duplicates(const struct checkpoint *c, struct error *err)
{
    for (int32_t i = 1; i < c->num_tensors; i++)
        if (compare_names(&c->tensors[i - 1], &c->tensors[i]) == 0)
            return error_set(err, -EINVAL, "tensor %.120s is in %.80s and in %.80s",
                             c->tensors[i].info->name, checkpoint_file_name(c, &c->tensors[i - 1]),
                             checkpoint_file_name(c, &c->tensors[i]));
    return 0;
}

/* Keep what the map names, where the map says it lies. */
static int keep_mapped(struct checkpoint *c, const json_t *map, struct error *err)
{
    int32_t num = 0;
    for (int32_t i = 0; i < c->num_tensors; i++) {
        const char *file = json_string_value(json_object_get(map, c->tensors[i].info->name));
        if (file != NULL && strcmp(file, checkpoint_file_name(c, &c->tensors[i])) == 0)
            c->tensors[num++] = c->tensors[i];
    }
    c->num_tensors = num;
    if ((size_t)num == json_object_size(map))
        return 0;
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)map, name,
                        file) if (checkpoint_find(c, name) ==
                                  NULL) return error_set(err, -EINVAL,
                                                         "%s: tensor %.120s is not in %.80s",
                                                         index_name, name, json_string_value(file));
    return 0;
}

static int open_mapped(struct checkpoint *c, int dir_fd, const json_t *index, struct error *err)
{
    const json_t *map = json_object_get(index, "weight_map");
    const char *name;
    json_t *file;
    if (!json_is_object(map))
        return error_set(err, -EINVAL, "%s: weight_map is not an object", index_name);
    json_object_foreach((json_t *)map, name, file)
    {
        const char *file_name = json_string_value(file);
        if (file_name == NULL || !is_plain_name(file_name))
            return error_set(err, -EINVAL,
                             "%s: \"%.120s\" is at \"%.80s\", wanted a plain name that ends in "
                             ".safetensors",
                             index_name, name, file_name != NULL ? file_name : "(no string)");
        const int r = add_file(c, dir_fd, file_name, err);
        if (r < 0)
            return r;
    }
    const int r = list_tensors(c, err);
    return r < 0 ? r : keep_mapped(c, map, err);
}

static int compare_texts(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Names of the directory's *.safetensors, sorted, each malloc'ed. */
static int list_files(const char *dir, char **names, int32_t *ret_num, struct error *err)
{
    DIR *folder = opendir(dir);
    int32_t num = 0;
    if (folder == NULL)
        return error_set(err, -errno, "%.200s: %s", dir, strerror(errno));
    int r = 0;
    for (struct dirent *entry; r == 0 && num < CHECKPOINT_MAX_FILES && (entry = readdir(folder));)
        if (is_plain_name(entry->d_name)) {
            names[num] = strdup(entry->d_name);
            r = names[num] == NULL ? -ENOMEM : 0;
            num += r == 0;
        }
    closedir(folder);
    qsort(names, (size_t)num, sizeof(*names), compare_texts);
    *ret_num = num;
    if (r < 0)
        return error_set(err, r, "no memory for the names of files");
    return num > 0 ? 0 : error_set(err, -ENOENT, "%.200s: no *.safetensors is there", dir);
}

static int open_listed(struct checkpoint *c, int dir_fd, const char *dir, struct error *err)
{
    char *names[CHECKPOINT_MAX_FILES];
    int32_t num = 0;
    int r = list_files(dir, names, &num, err);
    for (int32_t i = 0; r == 0 && i < num; i++)
        if (num == 1 || strcmp(names[i], consolidated_name) != 0)
            r = add_file(c, dir_fd, names[i], err);
    for (int32_t i = 0; i < num; i++)
        free(names[i]);
    if (r == 0)
        r = list_tensors(c, err);
    return r < 0 ? r : refuse_duplicates(c, err);
}

static int open_index(struct checkpoint *c, int dir_fd, const char *path, struct error *err)
{
    json_t *index;
    int r = json_read_file(path, MAX_INDEX_BYTES, &json_limits_file, &index, err);
    if (r < 0)
        return r;
    r = open_mapped(c, dir_fd, index, err);
    json_decref(index);
    return r;
}

static int open_files(struct checkpoint *c, int dir_fd, const char *dir, struct error *err)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/%s", dir, index_name) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%.200s...: the path is too long", dir);
    if (faccessat(dir_fd, index_name, F_OK, 0) == 0)
        return open_index(c, dir_fd, path, err);
    if (faccessat(dir_fd, single_name, F_OK, 0) != 0)
        return open_listed(c, dir_fd, dir, err);
    const int r = add_file(c, dir_fd, single_name, err);
    return r < 0 ? r : list_tensors(c, err);
}

static int open_directory(struct checkpoint *c, const char *dir, struct error *err)
{
    const int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return error_set(err, -errno, "%.200s: %s", dir, strerror(errno));
    c->files = calloc(CHECKPOINT_MAX_FILES, sizeof(*c->files));
    c->file_names = calloc(CHECKPOINT_MAX_FILES, sizeof(*c->file_names));
    const int r = c->files == NULL || c->file_names == NULL
                      ? error_set(err, -ENOMEM, "no memory for the list of files")
                      : open_files(c, dir_fd, dir, err);
    close(dir_fd);
    return r;
}

static int open_gguf(struct checkpoint *c, const char *path, struct error *err)
{
    const int r = gguf_checkpoint_open(path, c, err);
    return r < 0 ? r : list_tensors(c, err);
}

/* A file of the same name, size and time may be another one. */
static uint64_t stamp_of(const struct checkpoint *c)
{
    uint64_t stamp = c->hash;
    for (int32_t i = 0; i < c->num_files; i++) {
        struct stat info = { 0 };
        (void)fstat(c->files[i].fd, &info);
        const uint64_t place[] = { info.st_dev, info.st_ino };
        stamp = file_hash(stamp, place, sizeof(place));
    }
    return stamp;
}

int checkpoint_open(const char *path, struct checkpoint *ret_checkpoint, struct error *err)
{
    struct checkpoint c = { .hash = FILE_HASH_START };
    const int r = (gguf_is_file(path) ? open_gguf : open_directory)(&c, path, err);
    if (r < 0) {
        checkpoint_close(&c);
        return r;
    }
    for (int32_t i = 0; i < c.num_files; i++)
        c.hash = file_hash(c.hash, &c.files[i].hash, sizeof(c.files[i].hash));
    c.stamp = stamp_of(&c);
    *ret_checkpoint = c;
    return 0;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    for (int32_t i = 0; i < checkpoint->num_files; i++) {
        safetensors_close(&checkpoint->files[i]);
        free(checkpoint->file_names[i]);
    }
    free(checkpoint->files);
    free(checkpoint->file_names);
    free(checkpoint->tensors);
    free(checkpoint->dtypes);
    arena_finish(&checkpoint->arena);
    *checkpoint = (struct checkpoint){ 0 };
}

struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name)
{
    const struct safetensors_tensor info = { .name = name };
    const struct checkpoint_tensor key = { .info = &info };
    return bsearch(&key, checkpoint->tensors, (size_t)checkpoint->num_tensors, sizeof(key),
                   compare_names);
}

const char *checkpoint_file_name(const struct checkpoint *checkpoint,
                                 const struct checkpoint_tensor *tensor)
{
    return checkpoint->file_names[tensor->file - checkpoint->files];
}
