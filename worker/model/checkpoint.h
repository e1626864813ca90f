/*
 * checkpoint.h - all tensors of a model's directory, in one file or in shards
 *
 * With model.safetensors.index.json its map decides which shard holds a tensor; else
 * model.safetensors is taken, else every *.safetensors, which may then not share a name
 * (consolidated.safetensors, another naming of the same weights, only when it is alone).
 * File names of the map are plain names within the directory. A GGUF file is a model of its own
 * (gguf_checkpoint.h).
 *
 * Threads: one, except for checkpoint_read().
 */
#ifndef WORKER_MODEL_CHECKPOINT_H
#define WORKER_MODEL_CHECKPOINT_H

#include "worker/model/safetensors.h"

enum { CHECKPOINT_MAX_FILES = 512 };

struct checkpoint_tensor {
    const struct safetensors_tensor *info;
    const struct safetensors *file;
    bool wanted; /* for the loader: some row of the family asks for it */
};

struct checkpoint {
    int32_t num_files;
    struct safetensors *files;
    char **file_names; /* [num_files] */
    int32_t num_tensors;
    struct checkpoint_tensor *tensors; /* by name */
    struct safetensors_dtype *dtypes;  /* those of a GGUF file, or NULL */
    struct arena arena;                /* of what tensors are put together to */
    uint64_t hash;                     /* of all headers, sizes and times */
    uint64_t stamp;                    /* and of the files themselves */
};

/*
 * Returns 0; -ENOENT when there are no weights; -EINVAL, -ENOTSUP, -ENOMEM or the errno of
 * reading, with the file in the sentence.
 */
int checkpoint_open(const char *path, struct checkpoint *ret_checkpoint, struct error *err);
void checkpoint_close(struct checkpoint *checkpoint); /* accepts a zeroed struct */

/* Put `tensors` in the order of their names again. */
void checkpoint_sort(struct checkpoint *checkpoint);

/* NULL when there is none of that name. */
struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name);

/* The name of the file a tensor lies in, for messages. */
const char *checkpoint_file_name(const struct checkpoint *checkpoint,
                                 const struct checkpoint_tensor *tensor);

#endif
