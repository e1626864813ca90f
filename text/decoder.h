/*
 * decoder.h - what bytes a token of the vocabulary stands for
 *
 * A list of stages that is run once per token while loading; decoding is looking up. Only
 * decoders that work token by token can be of this kind. What a decoder does at the beginning of
 * a whole text (drop its first space) is kept apart, as generated text is the middle of one.
 */
#ifndef TEXT_DECODER_H
#define TEXT_DECODER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "text/replace.h"

enum { DECODER_STAGES_MAX = 8 };

enum decoder_type {
    DECODER_BYTE_LEVEL, /* alone */
    DECODER_REPLACE,
    DECODER_STRIP,         /* of each token */
    DECODER_METASPACE,     /* the mark is a space */
    DECODER_BYTE_FALLBACK, /* "<0x0A>" is a byte */
};

struct decoder_stage {
    enum decoder_type type;
    struct replace replace; /* DECODER_REPLACE, DECODER_METASPACE */
    char mark[4];           /* DECODER_STRIP: this character, */
    size_t mark_len;        /*   `start` times in front and `stop` times behind */
    int64_t start, stop;
};

struct decoder {
    struct decoder_stage stages[DECODER_STAGES_MAX];
    int32_t num_stages;
    bool fuses;              /* what follows is about the whole text */
    bool first_has_no_marks; /* Metaspace: the first token loses its marks instead */
    char lead[4];            /* this character is dropped from the beginning of the text, ... */
    size_t lead_len;
    int64_t lead_max; /* ... so many times */
};

/* Per use; zeroed to begin with. */
struct decoder_work {
    struct strbuf out[2];
    struct regex_work *regex;
};

void decoder_work_finish(struct decoder_work *work);

/* Read `root`.decoder. `decoder` is finished by the caller in every case. Returns 0, -EINVAL,
 * -ENOTSUP, -ENOMEM. */
int decoder_read(struct decoder *decoder, const json_t *root, struct error *err);
void decoder_finish(struct decoder *decoder);

bool decoder_is_byte_level(const struct decoder *decoder);

enum decoder_result { DECODER_TEXT, DECODER_BYTE, DECODER_LITERAL };

/*
 * Make the bytes of a token from its text (valid UTF-8), as the first of a whole text or not.
 * They lie in `text` or in `work`, until the next call.
 *
 * Returns an enum decoder_result (DECODER_BYTE: one byte of a character; DECODER_LITERAL: a
 * text outside the byte-level alphabet, which stands for itself), -ENOMEM or -ERANGE.
 */
int decoder_run(const struct decoder *decoder, struct decoder_work *work, bool first,
                const char *text, size_t len, const char **ret_bytes, size_t *ret_len);

#endif
