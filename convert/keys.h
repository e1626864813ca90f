/*
 * keys.h - a model's configuration as the metadata of a GGUF file
 */
#ifndef CONVERT_KEYS_H
#define CONVERT_KEYS_H

#include "convert/convert.h"
#include "convert/source.h"
#include "formats/gguf_write.h"

/*
 * All keys of the new file: of a GGUF source its own, but for those that say how it is cut and
 * typed; of a directory those of its configuration and tokenizer. Tensors that say divisors of
 * frequencies are added to the source.
 *
 * Returns as convert_run().
 */
int convert_keys(struct convert_source *source, const struct convert_options *options,
                 struct gguf_writer *writer, struct error *err);

/* Does the metadata say what the model is? What GGUF cannot say shows in reading it back. Returns
 * 0, -ENOTSUP, or as gguf_config_json(). */
int convert_check(const struct convert_source *source, const char *path, struct error *err);

#endif
