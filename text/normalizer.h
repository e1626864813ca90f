/*
 * normalizer.h - brings text to the form that the vocabulary was made from
 *
 * A list of stages, each a tagged struct; a stage that changes nothing hands the text back as it
 * stands. A text is empty, or becomes empty, only by Strip and StripAccents.
 */
#ifndef TEXT_NORMALIZER_H
#define TEXT_NORMALIZER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "text/normal_form.h"
#include "text/replace.h"

enum { NORMALIZER_STAGES_MAX = 8 };

enum normalizer_type {
    NORMALIZER_NFC, /* the first four as enum normal_form */
    NORMALIZER_NFD,
    NORMALIZER_NFKC,
    NORMALIZER_NFKD,
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP,
    NORMALIZER_STRIP_ACCENTS,
    NORMALIZER_PREPEND,
    NORMALIZER_REPLACE,
};

struct normalizer_stage {
    enum normalizer_type type;
    bool left, right;       /* NORMALIZER_STRIP */
    struct replace replace; /* NORMALIZER_REPLACE; of NORMALIZER_PREPEND the content */
};

struct normalizer {
    struct normalizer_stage stages[NORMALIZER_STAGES_MAX];
    int32_t num_stages;
};

/* Per thread; zeroed to begin with. */
struct normalizer_work {
    struct strbuf out[2];
    struct normal_form_work form;
    struct regex_work *regex;
};

/* Read `root`.normalizer. `normalizer` is finished by the caller in every case. Returns 0,
 * -EINVAL, -ENOTSUP, -ENOMEM. */
int normalizer_read(struct normalizer *normalizer, const json_t *root, struct error *err);
void normalizer_finish(struct normalizer *normalizer);

void normalizer_work_finish(struct normalizer_work *work);

/*
 * Normalize valid UTF-8. The result lies in `text` itself or in `work`, until the next call.
 *
 * Linear in `len`. Returns 0, -ENOMEM, -ERANGE (a pattern passed PCRE2's limits).
 */
int normalizer_run(const struct normalizer *normalizer, struct normalizer_work *work,
                   const char *text, size_t len, const char **ret_text, size_t *ret_len);

/* How many bytes of text can become one, at most; 0 when there is no bound. */
size_t normalizer_shrinks(const struct normalizer *normalizer);

#endif
