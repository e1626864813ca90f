#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool strbuf_reserve(struct strbuf *buf, size_t len)
{
    size_t need;
    if (buf->failed)
        return false;
    if (__builtin_add_overflow(buf->len, len, &need) || need == (size_t)-1 ||
        (buf->limit != 0 && need > buf->limit)) {
        buf->failed = true;
        return false;
    }
    if (need < buf->cap)
        return true;
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap <= need)
        cap = cap > (size_t)-1 / 2 ? need + 1 : cap * 2;
    char *data = realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void strbuf_append(struct strbuf *buf, const void *bytes, size_t len)
{
    if (!strbuf_reserve(buf, len))
        return;
    if (len > 0)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void strbuf_append_text(struct strbuf *buf, const char *text)
{
    strbuf_append(buf, text, strlen(text));
}

void strbuf_append_char(struct strbuf *buf, char c)
{
    strbuf_append(buf, &c, 1);
}

void strbuf_printf(struct strbuf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        buf->failed = true;
    else if (strbuf_reserve(buf, (size_t)len)) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void strbuf_append_json_string(struct strbuf *buf, const char *text, size_t len)
{
    static const char short_escapes[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    size_t plain = 0; /* start of the run not yet copied */

    strbuf_append_char(buf, '"');
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        strbuf_append(buf, text + plain, i - plain);
        plain = i + 1;
        const char *hit = c == 0 ? NULL : strchr(short_escapes, c);
        while (hit != NULL && (hit - short_escapes) % 2 != 0)
            hit = strchr(hit + 1, c);
        if (hit != NULL)
            strbuf_append(buf, (const char[]){ '\\', hit[1] }, 2);
        else
            strbuf_printf(buf, "\\u%04x", c);
    }
    strbuf_append(buf, text + plain, len - plain);
    strbuf_append_char(buf, '"');
}

void strbuf_consume(struct strbuf *buf, size_t len)
{
    if (len == 0)
        return;
    memmove(buf->data, buf->data + len, buf->len - len);
    buf->len -= len;
    buf->data[buf->len] = '\0';
}

void strbuf_reset(struct strbuf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

void strbuf_finish(struct strbuf *buf)
{
    free(buf->data);
    *buf = (struct strbuf){ .limit = buf->limit };
}
