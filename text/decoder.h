/*
 * decoder.h - what bytes a token of the vocabulary stands for
 *
 * A list of stages that is run once per token while loading; decoding is looking up. Only
 * decoders that work token by token can be of this kind.
 */
#ifndef TEXT_DECODER_H
#define TEXT_DECODER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { DECODER_STAGES_MAX = 8 };

enum decoder_type { DECODER_BYTE_LEVEL };

struct decoder_stage {
    enum decoder_type type;
};

struct decoder {
    struct decoder_stage stages[DECODER_STAGES_MAX];
    int32_t num_stages;
};

/* Read `root`.decoder. Returns 0, -EINVAL, -ENOTSUP. */
int decoder_read(struct decoder *decoder, const json_t *root, struct error *err);

/* Write the bytes of a token's text (valid UTF-8) to `out`, which has room for `len`. Returns
 * their number; *ret_literal: the text is outside the alphabet and stands for itself. */
size_t decoder_run(const struct decoder *decoder, const char *text, size_t len, char *out,
                   bool *ret_literal);

#endif
