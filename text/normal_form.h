/*
 * normal_form.h - the four normal forms of Unicode
 *
 * A text that is in the form already, as nearly all is, is found by one pass and handed back as
 * it stands. Linear in the text, whatever the combining marks.
 * Source: Unicode Standard Annex 15; the data is utf8proc's.
 */
#ifndef TEXT_NORMAL_FORM_H
#define TEXT_NORMAL_FORM_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

enum normal_form { NORMAL_FORM_NFC, NORMAL_FORM_NFD, NORMAL_FORM_NFKC, NORMAL_FORM_NFKD };

/* Per thread; zeroed to begin with. */
struct normal_form_work {
    int32_t *codepoints; /* [cap] */
    int32_t *sorted;     /* [cap] */
    size_t cap;
};

void normal_form_work_finish(struct normal_form_work *work);

/* Bring valid UTF-8 to the form: *text and *len become the result, which lies in the text itself
 * or in `out`. Returns 0 or -ENOMEM. */
int normal_form_run(enum normal_form form, struct normal_form_work *work, struct strbuf *out,
                    const char **text, size_t *len);

#endif
