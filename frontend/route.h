/*
 * route.h - one row per path
 */
#ifndef FRONTEND_ROUTE_H
#define FRONTEND_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "frontend/http.h"

struct frontend;

enum route_access {
    ROUTE_OPEN,    /* never needs a key: probes, /version */
    ROUTE_KEY,     /* needs one where keys are set */
    ROUTE_METRICS, /* needs one with --metrics-auth */
};

struct route {
    const char *path;
    bool prefix;      /* the path is followed by more: /v1/models/{id} */
    bool quiet;       /* no log line */
    unsigned methods; /* of enum http_method; HEAD and OPTIONS are added where they work */
    enum route_access access;
    void (*handle)(struct frontend *frontend, struct http_request *request);
};

extern const struct route route_table[];
extern const size_t route_num;

/* The row of a path, a trailing slash tolerated; NULL: there is none. */
const struct route *route_find(const char *path, size_t len);

/* Does the route answer to the method? HEAD works wherever GET does. */
bool route_allows(const struct route *route, enum http_method method);

/* "GET, HEAD, OPTIONS" */
void route_allow_text(const struct route *route, char *out, size_t size);

#endif
