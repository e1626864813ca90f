#include "frontend/route.h"

#include <stdio.h>
#include <string.h>

#include "frontend/handlers.h"

#define POST(path_, handle_)                                                                       \
    {                                                                                              \
        .path = path_, .methods = HTTP_POST, .access = ROUTE_KEY, .handle = handle_                \
    }
#define GET(path_, handle_)                                                                        \
    {                                                                                              \
        .path = path_, .methods = HTTP_GET, .access = ROUTE_KEY, .handle = handle_                 \
    }
#define PROBE(path_, handle_)                                                                      \
    {                                                                                              \
        .path = path_, .methods = HTTP_GET, .access = ROUTE_OPEN, .quiet = true, .handle = handle_ \
    }

const struct route route_table[] = {
    POST("/v1/chat/completions", chat_handle),
    POST("/v1/completions", completions_handle),
    GET("/v1/models", models_handle_list),
    { .path = "/v1/models/",
      .prefix = true,
      .methods = HTTP_GET,
      .access = ROUTE_KEY,
      .handle = models_handle_one },
    PROBE("/health", health_handle),
    PROBE("/readyz", health_handle),
    PROBE("/health/ready", health_handle),
    PROBE("/ping", health_handle),
    PROBE("/livez", health_handle_live),
    PROBE("/health/live", health_handle_live),
    PROBE("/startupz", health_handle_startup),
    PROBE("/health/startup", health_handle_startup),
    PROBE("/version", version_handle),
    { .path = "/metrics",
      .quiet = true,
      .methods = HTTP_GET,
      .access = ROUTE_METRICS,
      .handle = metrics_handle },
    GET("/stats", stats_handle),
    GET("/", index_handle),
};
const size_t route_num = sizeof(route_table) / sizeof(route_table[0]);

static bool matches(const struct route *route, const char *path, size_t len)
{
    const size_t want = strlen(route->path);
    if (route->prefix)
        return len > want && memcmp(route->path, path, want) == 0;
    return len == want && memcmp(route->path, path, want) == 0;
}

const struct route *route_find(const char *path, size_t len)
{
    if (len > 1 && path[len - 1] == '/')
        len--;
    for (size_t i = 0; i < route_num; i++)
        if (matches(&route_table[i], path, len))
            return &route_table[i];
    return NULL;
}

bool route_allows(const struct route *route, enum http_method method)
{
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    return (route->methods & method) != 0;
}

void route_allow_text(const struct route *route, char *out, size_t size)
{
    snprintf(out, size, "%s%sOPTIONS", (route->methods & HTTP_GET) ? "GET, HEAD, " : "",
             (route->methods & HTTP_POST) ? "POST, " : "");
}
