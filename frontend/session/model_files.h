/*
 * model_files.h - what the files of a model say beside its weights: JSON, from a directory or a
 * GGUF
 */
#ifndef FRONTEND_SESSION_MODEL_FILES_H
#define FRONTEND_SESSION_MODEL_FILES_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "text/tokenizer.h"

struct model_files {
    json_t *tokenizer, *generation, *model; /* NULL: there is no such file */
};

/*
 * Read tokenizer_config.json, generation_config.json and config.json of a directory, or what a GGUF
 * file says instead of them. The caller gives them back in every case.
 *
 * Returns 0; the errno of a file that cannot be read; -EINVAL, -ENOTSUP, -ENOMEM.
 */
int model_files_read(const char *path, struct model_files *files, struct error *err);
void model_files_finish(struct model_files *files);

/*
 * A hash of all bytes that this and a tokenizer and a template are read from; of a GGUF file, of
 * its header, size and time. A file that is absent counts as well.
 *
 * Returns 0 or the errno of a file that cannot be read, -EFBIG, -ENOMEM.
 */
int model_files_hash(const char *path, uint64_t *ret_hash, struct error *err);

/* The tokenizer of the same. Returns as tokenizer_open(). */
int model_files_tokenizer(const char *path, struct tokenizer **ret_tokenizer, struct error *err);

#endif
