#include "formats/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/gguf_value.h"

enum { FIRST_READ = 1 << 20, MAX_HEADER = 128 << 20 };

/* Grow gguf->header from `had` to `len` bytes of the file. */
static int read_more(struct gguf *gguf, size_t had, size_t len, struct error *err)
{
    unsigned char *grown = realloc(gguf->header, len + 1);
    if (grown == NULL)
        return error_set(err, -ENOMEM, "no memory for a header of %zu bytes", len);
    gguf->header = grown;
    const int r = file_read_at(gguf->fd, had, grown + had, len - had);
    return r < 0 ? error_set(err, r, "%s", strerror(-r)) : 0;
}

/* How long the header is shows only in reading it: in steps, each four times the last. */
static int read_header(struct gguf *gguf, uint64_t file_bytes, struct error *err)
{
    int r = -EAGAIN;
    size_t had = 0;
    for (uint64_t step = FIRST_READ; r == -EAGAIN && had < MAX_HEADER; step *= 4) {
        uint64_t len = step < MAX_HEADER ? step : MAX_HEADER;
        len = len < file_bytes ? len : file_bytes;
        arena_reset(&gguf->arena);
        r = read_more(gguf, had, (size_t)len, err);
        if (r == 0)
            r = gguf_parse(gguf->header, (size_t)len, file_bytes, gguf, err);
        had = (size_t)len;
    }
    if (r == -EAGAIN)
        return error_set(err, -EINVAL, "its header has more than %d bytes", MAX_HEADER);
    if (r == 0)
        gguf->hash = file_hash(FILE_HASH_START, gguf->header,
                               had < gguf->data_begin ? had : (size_t)gguf->data_begin);
    return r;
}

static int open_and_check(const char *path, struct gguf *gguf, struct error *err)
{
    struct stat info;
    gguf->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (gguf->fd < 0 || fstat(gguf->fd, &info) < 0)
        return error_set(err, -errno, "%s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, -EINVAL, "not a regular file");
    const int r = read_header(gguf, (uint64_t)info.st_size, err);
    if (r < 0)
        return r;
    const int64_t stamp[] = { info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec };
    gguf->hash = file_hash(gguf->hash, stamp, sizeof(stamp));
    return 0;
}

bool gguf_is_file(const char *path)
{
    struct stat info;
    char magic[4] = { 0 };
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool is_it = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                       file_read_at(fd, 0, magic, sizeof(magic)) == 0 &&
                       memcmp(magic, "GGUF", sizeof(magic)) == 0;
    if (fd >= 0)
        close(fd);
    return is_it;
}

int gguf_open(const char *path, struct gguf *ret_gguf, struct error *err)
{
    struct gguf gguf = { .fd = -1 };
    struct error why = { 0 };
    arena_init(&gguf.arena, 0);
    const int r = open_and_check(path, &gguf, &why);
    if (r < 0) {
        gguf_close(&gguf);
        return error_set(err, r, "%.200s: %s", path, why.message);
    }
    *ret_gguf = gguf;
    return 0;
}

void gguf_close(struct gguf *gguf)
{
    if (gguf->fd >= 0)
        close(gguf->fd);
    free(gguf->header);
    arena_finish(&gguf->arena);
    *gguf = (struct gguf){ .fd = -1 };
}

int gguf_read(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t offset, void *to,
              size_t bytes)
{
    if (offset > tensor->bytes || bytes > tensor->bytes - offset)
        return -EINVAL;
    return file_read_at(gguf->fd, gguf->data_begin + tensor->offset + offset, to, bytes);
}
