/*
 * gguf_value.h - reading the metadata of a GGUF file by key
 *
 * Integers may be stored in any width and sign; what is asked for is checked. A key that is
 * absent is ordinary: the readers then leave the result alone and return 0.
 */
#ifndef FORMATS_GGUF_VALUE_H
#define FORMATS_GGUF_VALUE_H

#include "formats/gguf.h"

/* NULL when absent. */
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key);

/* Return 1 when there, 0 when absent, -EINVAL for another type or out of range. */
int gguf_int(const struct gguf *gguf, const char *key, int64_t min, int64_t max, int64_t *ret,
             struct error *err);
int gguf_real(const struct gguf *gguf, const char *key, double *ret, struct error *err);
int gguf_bool(const struct gguf *gguf, const char *key, bool *ret, struct error *err);
/* The text has no NUL behind it. */
int gguf_text(const struct gguf *gguf, const char *key, const char **ret, size_t *ret_len,
              struct error *err);

/* Element `index` of a value of numbers (0 of one that is no array). False: no such number. */
bool gguf_value_int(const struct gguf_value *value, uint64_t index, int64_t *ret);
bool gguf_value_real(const struct gguf_value *value, uint64_t index, double *ret);

/* Walk the strings of an array: begin with *at = value->at. False behind the last. */
bool gguf_value_next(const struct gguf_value *value, const unsigned char **at, const char **ret,
                     size_t *ret_len);

#endif
