/*
 * post_processor.h - the ids that a tokenizer puts before and behind a text
 *
 * TemplateProcessing lists them; ByteLevel only moves offsets, which nobody here asks for.
 */
#ifndef TEXT_POST_PROCESSOR_H
#define TEXT_POST_PROCESSOR_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "text/vocab.h"

enum { POST_PROCESSOR_IDS_MAX = 16 };

struct post_processor {
    int32_t before[POST_PROCESSOR_IDS_MAX], behind[POST_PROCESSOR_IDS_MAX];
    int32_t num_before, num_behind;
};

/* Read `root`.post_processor; its ids are of tokens of `vocab`. Returns 0, -EINVAL, -ENOTSUP. */
int post_processor_read(struct post_processor *post, const json_t *root, const struct vocab *vocab,
                        struct error *err);

#endif
