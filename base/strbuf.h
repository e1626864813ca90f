/*
 * strbuf.h - a growing run of bytes
 *
 * A failed allocation or a passed limit marks the buffer as failed; later appends do
 * nothing, so that a writer checks once, at the end. The bytes are always followed by a NUL
 * once anything was appended. One thread at a time.
 */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

struct strbuf {
    char *data; /* len bytes and a NUL, or NULL while nothing was appended */
    size_t len, cap;
    size_t limit; /* most bytes; 0: none */
    bool failed;
};

/* An empty buffer is a zeroed struct; set `limit` by hand. */
void strbuf_append(struct strbuf *buf, const void *bytes, size_t len);
void strbuf_append_text(struct strbuf *buf, const char *text);
void strbuf_append_char(struct strbuf *buf, char c);
__attribute__((format(printf, 2, 3))) void strbuf_printf(struct strbuf *buf, const char *format,
                                                         ...);

/* Append `text` as a JSON string with its quotes; escapes only what JSON demands. `text` is
 * valid UTF-8. */
void strbuf_append_json_string(struct strbuf *buf, const char *text, size_t len);

/* Room for `len` more bytes behind data + len, or false (marked failed). */
bool strbuf_reserve(struct strbuf *buf, size_t len);

/* Drop the first `len` bytes. */
void strbuf_consume(struct strbuf *buf, size_t len);

/* Empty it and keep the memory / give the memory back. */
void strbuf_reset(struct strbuf *buf);
void strbuf_finish(struct strbuf *buf);

#endif
