#include "worker/model/direct_files.h"

#include <unistd.h>

static bool is_read_directly(const struct safetensors *file, enum read_io io)
{
    const uint64_t bytes = file->data_begin + file->data_bytes;
    return io == READ_IO_DIRECT || (io == READ_IO_AUTO && !read_ahead_is_cached(file->fd, bytes));
}

void direct_files_add(struct direct_files *files, const struct safetensors *file, enum read_io io)
{
    for (int32_t i = 0; i < files->num; i++)
        if (files->all[i].file == file)
            return;
    if (files->num == CHECKPOINT_MAX_FILES)
        return;
    const int fd = is_read_directly(file, io) ? read_ahead_direct_fd(file->fd) : -1;
    files->all[files->num].file = file;
    files->all[files->num++].fd = fd;
    files->num_direct += fd >= 0;
}

void direct_files_close(struct direct_files *files)
{
    for (int32_t i = 0; i < files->num; i++)
        if (files->all[i].fd >= 0)
            close(files->all[i].fd);
}

int direct_files_fd(const struct direct_files *files, const struct safetensors *file)
{
    for (int32_t i = 0; i < files->num; i++)
        if (files->all[i].file == file)
            return files->all[i].fd;
    return -1;
}
