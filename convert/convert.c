#include "convert/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/keys.h"
#include "convert/types.h"
#include "convert/write.h"

enum { PATH_BYTES = 4096 };

static int place_tensors(struct convert_source *source, struct gguf_writer *writer,
                         struct convert_result *result, struct error *err)
{
    for (int32_t i = 0; i < source->num_tensors; i++) {
        struct convert_tensor *tensor = &source->tensors[i];
        const int r = gguf_put_tensor(writer, tensor->name, tensor->to, tensor->dims,
                                      tensor->num_dims, &tensor->offset, &tensor->bytes);
        if (r < 0)
            return error_set(err, r, "tensor %s cannot be named or counted in GGUF", tensor->name);
        result->to_bytes += tensor->bytes;
        result->elements += (double)convert_rows(tensor) * (double)tensor->dims[0];
    }
    result->num_tensors = source->num_tensors;
    result->from_bytes = convert_source_bytes(source);
    return 0;
}

/* Into the open file `fd`, whose name until it is whole is `path`. */
static int fill(struct convert_source *source, const struct convert_options *options,
                const char *path, int fd, struct convert_result *result, struct error *err)
{
    struct gguf_writer writer = { 0 };
    int r = convert_keys(source, options, &writer, err);
    if (r == 0) {
        convert_types(source, options);
        r = place_tensors(source, &writer, result, err);
    }
    if (r == 0 && (r = gguf_write_header(&writer, fd)) < 0)
        error_set(err, r, "%.200s: %s", path, strerror(-r));
    if (r == 0)
        r = convert_write_made(source, fd, writer.data_begin, err);
    if (r == 0)
        r = convert_check(source, path, err);
    if (r == 0)
        r = convert_write(source, options, fd, writer.data_begin, err);
    gguf_writer_finish(&writer);
    return r;
}

/* The file takes its name when all of it lies on the disk. */
static int publish(const struct convert_options *options, const char *path, int fd,
                   struct error *err)
{
    if (fsync(fd) < 0)
        return error_set(err, -errno, "%.200s: %s", path, strerror(errno));
    const int r = options->overwrite ? rename(path, options->to) : link(path, options->to);
    if (r < 0)
        return error_set(err, -errno, "%.200s: %s", options->to, strerror(errno));
    if (!options->overwrite)
        unlink(path);
    return 0;
}

static int make_file(struct convert_source *source, const struct convert_options *options,
                     struct convert_result *result, struct error *err)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof(path), "%s.%ld.part", options->to, (long)getpid()) >=
        (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%.200s...: the path is too long", options->to);
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(err, -errno, "%.200s: %s", path, strerror(errno));
    int r = fill(source, options, path, fd, result, err);
    if (r == 0)
        r = publish(options, path, fd, err);
    close(fd);
    if (r < 0)
        unlink(path);
    return r;
}

int convert_run(const struct convert_options *options, struct convert_result *ret_result,
                struct error *err)
{
    struct convert_source *source = calloc(1, sizeof(*source));
    struct convert_result result = { 0 };
    if (source == NULL)
        return error_set(err, -ENOMEM, "no memory for a model");
    int r = 0;
    if (!options->overwrite && access(options->to, F_OK) == 0)
        r = error_set(err, -EEXIST, "%.200s is there already; --force writes over it", options->to);
    if (r == 0)
        r = convert_source_open(options->from, source, err);
    if (r == 0)
        r = make_file(source, options, &result, err);
    convert_source_close(source);
    free(source);
    if (r == 0)
        *ret_result = result;
    return r;
}
