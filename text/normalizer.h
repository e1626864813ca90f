/*
 * normalizer.h - brings text to the form that the vocabulary was made from
 *
 * A list of stages, each a tagged struct. A text that is in the form already, as nearly all is,
 * is found by one pass over the class table and handed back as it stands.
 */
#ifndef TEXT_NORMALIZER_H
#define TEXT_NORMALIZER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

enum { NORMALIZER_STAGES_MAX = 8 };

enum normalizer_type { NORMALIZER_NFC };

struct normalizer_stage {
    enum normalizer_type type;
};

struct normalizer {
    struct normalizer_stage stages[NORMALIZER_STAGES_MAX];
    int32_t num_stages;
};

/* Per thread; zeroed to begin with. */
struct normalizer_work {
    struct strbuf out[2];
    int32_t *codepoints; /* [cap] */
    int32_t *sorted;     /* [cap] */
    size_t cap;
};

/* Read `root`.normalizer. Returns 0, -EINVAL, -ENOTSUP. */
int normalizer_read(struct normalizer *normalizer, const json_t *root, struct error *err);

void normalizer_work_finish(struct normalizer_work *work);

/*
 * Normalize valid UTF-8. The result lies in `text` itself or in `work`, until the next call.
 *
 * Linear in `len`, whatever the combining marks. Returns 0 or -ENOMEM.
 */
int normalizer_run(const struct normalizer *normalizer, struct normalizer_work *work,
                   const char *text, size_t len, const char **ret_text, size_t *ret_len);

#endif
