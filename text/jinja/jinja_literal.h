/*
 * jinja_literal.h - string and number literals as Python reads them
 */
#ifndef TEXT_JINJA_LITERAL_H
#define TEXT_JINJA_LITERAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/*
 * Resolve the escapes of a string literal (without its quotes); the text lives in `arena`.
 *
 * Returns 0; -EINVAL (a cut-off escape); -ENOTSUP (\N{...}, a surrogate); -ENOMEM.
 */
int jinja_literal_text(struct arena *arena, const char *raw, size_t len, uint32_t line,
                       const char **ret_text, size_t *ret_len, struct error *err);

/* Length of the number that `text` begins with; 0 where it is none (or beyond 64 bits). */
size_t jinja_literal_float(const char *text, size_t len, double *ret_real);
size_t jinja_literal_int(const char *text, size_t len, int64_t *ret_integer);

#endif
