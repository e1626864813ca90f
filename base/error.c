#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void tidy(char *text, size_t size)
{
    size_t len = strlen(text);
    if (len == size - 1) /* cut: drop a character that lost its end */
        while (len > 0 && ((unsigned char)text[len - 1] & 0x80) != 0) {
            const unsigned char last = (unsigned char)text[--len];
            text[len] = '\0';
            if ((last & 0xC0) == 0xC0)
                break;
        }
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

static int set(struct error *err, int code, const char *param, const char *format, va_list args)
{
    if (err == NULL)
        return code;
    err->code = code;
    snprintf(err->param, sizeof(err->param), "%s", param);
    vsnprintf(err->message, sizeof(err->message), format, args);
    tidy(err->message, sizeof(err->message));
    return code;
}

int error_set(struct error *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(err, code, "", format, args);
    va_end(args);
    return code;
}

int error_set_param(struct error *err, int code, const char *param, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(err, code, param, format, args);
    va_end(args);
    return code;
}
