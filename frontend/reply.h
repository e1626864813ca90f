/*
 * reply.h - whole answers in JSON, and errors with the headers that belong to them
 */
#ifndef FRONTEND_REPLY_H
#define FRONTEND_REPLY_H

#include "base/strbuf.h"
#include "frontend/http.h"
#include "proto/wire/wire_error.h"

/* Answer with `body` as application/json and give its memory back. */
void reply_json(struct http_request *request, int status, struct strbuf *body);

/* Answer with an error object and its status. 429 and 503 say when to come again: the error's
 * retry_after_ms, or a second, a fifth more or less, at most 60 s. */
void reply_error(struct http_request *request, const struct wire_error *error);

/* The same from a code and a sentence. */
__attribute__((format(printf, 3, 4))) void reply_code(struct http_request *request,
                                                      enum wire_code code, const char *format, ...);

#endif
