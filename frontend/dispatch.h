/*
 * dispatch.h - from a whole request to its handler: cheap checks first, in this order
 *
 * id, size of headers, path, preflight, method, key, size and type of the body. Requests with a
 * body reach their handler one turn of the loop later: those that a client resets at once (an
 * HTTP/2 reset flood) then cost nothing but this.
 */
#ifndef FRONTEND_DISPATCH_H
#define FRONTEND_DISPATCH_H

#include "frontend/http.h"

void dispatch_request(void *frontend, struct http_request *request);

/* May this be a request id: 1 to 128 visible ASCII characters? */
bool dispatch_is_usable_id(struct http_text id);

/* A name that nobody guesses: prefix and 24 hex digits. */
struct frontend;
void dispatch_make_id(struct frontend *frontend, const char *prefix, char *out, size_t size);

#endif
