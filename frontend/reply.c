#include "frontend/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

static const char no_memory[] =
    "{\"error\":{\"message\":\"The server is out of memory.\",\"type\":\"server_error\","
    "\"param\":null,\"code\":\"internal_error\"}}";

void reply_json(struct http_request *request, int status, struct strbuf *body)
{
    if (body->failed || body->data == NULL)
        http_reply(request, 503, "application/json", no_memory, sizeof(no_memory) - 1);
    else
        http_reply(request, status, "application/json", body->data, body->len);
    strbuf_finish(body);
}

/* A fifth more or less, so that those who were refused together do not come back together. */
static uint32_t jitter(uint32_t ms)
{
    uint64_t x = (uint64_t)clock_now_us() * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    const double factor = 0.8 + 0.4 * (double)(x >> 11) / (double)(1ull << 53);
    return (uint32_t)(ms * factor + 0.5);
}

static void add_retry_after(struct http_request *request, uint32_t ms)
{
    enum { MAX_MS = 50000 }; /* clients give up when told more than a minute */
    char value[24];
    ms = jitter(ms < MAX_MS ? ms : MAX_MS);
    ms = ms > 0 ? ms : 1;
    snprintf(value, sizeof(value), "%u", (unsigned)((ms + 999) / 1000));
    http_add_header(request, "retry-after", value);
    snprintf(value, sizeof(value), "%u", (unsigned)ms);
    http_add_header(request, "retry-after-ms", value);
}

void reply_error(struct http_request *request, const struct wire_error *error)
{
    const int status = wire_codes[error->code].status;
    struct strbuf body = { 0 };

    if (error->code == WIRE_INVALID_API_KEY)
        http_add_header(request, "www-authenticate", "Bearer");
    if (status == 429 || status == 503)
        add_retry_after(request, error->retry_after_ms > 0 ? error->retry_after_ms : 1000);
    wire_error_write(error, &body);
    reply_json(request, status, &body);
}

/* What was echoed of a path or a header may be any bytes, and is cut anywhere. */
static void make_printable(char *text)
{
    const size_t len = strlen(text);
    uint32_t codepoint;
    int n;
    for (size_t at = 0; at < len; at += (size_t)n) {
        n = utf8_decode(text + at, len - at, &codepoint);
        if (n <= 0 || codepoint < 0x20 || codepoint == 0x7F) {
            text[at] = '?';
            n = 1;
        }
    }
}

void reply_code(struct http_request *request, enum wire_code code, const char *format, ...)
{
    struct wire_error error = { .code = code };
    va_list args;
    va_start(args, format);
    vsnprintf(error.message, sizeof(error.message), format, args);
    va_end(args);
    make_printable(error.message);
    reply_error(request, &error);
}
