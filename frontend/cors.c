#include "frontend/cors.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool lists(const struct option_list *list, const char *text, size_t len)
{
    for (int32_t i = 0; i < list->num; i++)
        if (list->items[i].len == len && strncasecmp(list->items[i].text, text, len) == 0)
            return true;
    return false;
}

static bool is_any(const struct option_list *list)
{
    return lists(list, "*", 1);
}

static void copy(char out[CORS_VALUE_BYTES], const char *text, size_t len)
{
    out[0] = '\0';
    if (len < CORS_VALUE_BYTES)
        snprintf(out, CORS_VALUE_BYTES, "%.*s", (int)len, text);
}

void cors_allow_origin(const struct cors *cors, const char *origin, size_t len,
                       char out[CORS_VALUE_BYTES])
{
    const bool any = is_any(cors->origins);
    out[0] = '\0';
    if (any && !cors->credentials)
        copy(out, "*", 1);
    else if (len > 0 && (any || lists(cors->origins, origin, len)))
        copy(out, origin, len);
}

void cors_add_headers(const struct cors *cors, struct http_request *request)
{
    char value[CORS_VALUE_BYTES];
    const struct http_text origin = http_header(request, "origin");
    cors_allow_origin(cors, origin.data, origin.len, value);
    if (value[0] == '\0')
        return;
    http_add_header(request, "access-control-allow-origin", value);
    http_add_header(request, "access-control-expose-headers",
                    "x-request-id, retry-after, retry-after-ms, x-max-tokens-clamped");
    if (strcmp(value, "*") != 0)
        http_add_header(request, "vary", "origin");
    if (cors->credentials)
        http_add_header(request, "access-control-allow-credentials", "true");
}

bool cors_is_preflight(const struct http_request *request)
{
    return http_method(request) == HTTP_OPTIONS &&
           http_header(request, "access-control-request-method").len > 0;
}

/* The configured list, or with "*" what the browser asked for. */
static void add_allowed(struct http_request *request, const char *name,
                        const struct option_list *list, struct http_text asked)
{
    char value[2 * CORS_VALUE_BYTES];
    size_t n = 0;
    if (is_any(list)) {
        if (asked.len == 0 || asked.len >= sizeof(value))
            return;
        snprintf(value, sizeof(value), "%.*s", (int)asked.len, asked.data);
        http_add_header(request, name, value);
        return;
    }
    for (int32_t i = 0; i < list->num && n + list->items[i].len + 3 < sizeof(value); i++)
        n += (size_t)snprintf(value + n, sizeof(value) - n, "%s%.*s", i > 0 ? ", " : "",
                              (int)list->items[i].len, list->items[i].text);
    if (n > 0)
        http_add_header(request, name, value);
}

void cors_answer_preflight(const struct cors *cors, struct http_request *request)
{
    static const char every_method[] = "GET, HEAD, POST, OPTIONS";
    cors_add_headers(cors, request);
    add_allowed(request, "access-control-allow-methods", cors->methods,
                (struct http_text){ every_method, sizeof(every_method) - 1 });
    add_allowed(request, "access-control-allow-headers", cors->headers,
                http_header(request, "access-control-request-headers"));
    http_add_header(request, "access-control-max-age", "86400");
    http_reply(request, 204, NULL, "", 0);
}
