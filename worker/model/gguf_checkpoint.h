/*
 * gguf_checkpoint.h - the tensors of a GGUF model as those of safetensors: same names, same shapes
 *
 * Stacked experts are tensors of their own, rows of q and k that the converter interleaved are
 * marked as such, and what gguf_config_json() has told already is left out.
 */
#ifndef WORKER_MODEL_GGUF_CHECKPOINT_H
#define WORKER_MODEL_GGUF_CHECKPOINT_H

#include "worker/model/checkpoint.h"

/*
 * Open all files of the model of which `path` is one, into a zeroed checkpoint: files, names and
 * list of tensors, unsorted. The caller closes it in every case.
 *
 * Returns 0; -EINVAL, -ENOTSUP, -ENOMEM or the errno of reading.
 */
int gguf_checkpoint_open(const char *path, struct checkpoint *checkpoint, struct error *err);

#endif
