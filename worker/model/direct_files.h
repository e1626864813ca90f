/*
 * direct_files.h - the files of a checkpoint that are read past the page cache
 */
#ifndef WORKER_MODEL_DIRECT_FILES_H
#define WORKER_MODEL_DIRECT_FILES_H

#include "worker/model/checkpoint.h"
#include "worker/model/read_ahead.h"

/* A zeroed one has none. */
struct direct_files {
    struct {
        const struct safetensors *file;
        int fd; /* for direct reads, or -1 */
    } all[CHECKPOINT_MAX_FILES];
    int32_t num, num_direct;
};

/* Open a file as `io` says, unless it is there already. */
void direct_files_add(struct direct_files *files, const struct safetensors *file, enum read_io io);
void direct_files_close(struct direct_files *files);

/* Its descriptor for direct reads, or -1; of NULL too. */
int direct_files_fd(const struct direct_files *files, const struct safetensors *file);

#endif
