/*
 * cors.h - which web pages may call
 */
#ifndef FRONTEND_CORS_H
#define FRONTEND_CORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/option.h"
#include "frontend/http.h"

struct cors {
    const struct option_list *origins, *methods, *headers;
    bool credentials;
};

enum { CORS_VALUE_BYTES = 512 };

/*
 * The value of access-control-allow-origin for a page of `origin` (len 0: no such header):
 * "*", the origin itself, or "" when it is not allowed. Credentials never go with "*".
 */
void cors_allow_origin(const struct cors *cors, const char *origin, size_t len,
                       char out[CORS_VALUE_BYTES]);

/* Headers that every answer carries. */
void cors_add_headers(const struct cors *cors, struct http_request *request);

/* An OPTIONS request with access-control-request-method: answered 204 without a key. */
bool cors_is_preflight(const struct http_request *request);
void cors_answer_preflight(const struct cors *cors, struct http_request *request);

#endif
