/*
 * convert.h - a model's weights in another type: safetensors or GGUF to GGUF
 *
 * The new file is written beside its final name and renamed when it is whole, so that whoever
 * opens it sees all of it. Weights are read, rounded and written in pieces of a few megabytes by
 * several threads: memory does not grow with the model.
 *
 * Errors: a sentence with the file, tensor or key. One conversion at a time per thread.
 */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "formats/block_choice.h"

struct convert_progress {
    uint64_t done, total; /* bytes of the source's tensors */
};

struct convert_options {
    const char *from;                  /* a directory of safetensors, or a GGUF file */
    const char *to;                    /* the new file */
    const struct block_choice *choice; /* formats/block_choice.h; NULL of convert_fp8_run() */
    int32_t num_threads;               /* 1 to 64 */
    bool overwrite;                    /* what lies at `to` */
    /* May be NULL. Called now and then by the thread that called, and once at the end. */
    void (*progress)(void *context, const struct convert_progress *progress);
    void (*note)(void *context, const char *text); /* a tensor that gets another type */
    void *context;
};

struct convert_result {
    int32_t num_tensors;
    uint64_t from_bytes, to_bytes; /* of tensors */
    double elements;
};

/*
 * Returns 0; -ENOENT, -EINVAL, -ENOTSUP for the model (-EINVAL also for a weight that is not finite
 * or beyond what the type holds); -EEXIST; -ENOMEM; the errno of reading or writing.
 */
int convert_run(const struct convert_options *options, struct convert_result *ret_result,
                struct error *err);

#endif
