/*
 * request.h - what the server knows of request records beyond http.h
 */
#ifndef FRONTEND_REQUEST_H
#define FRONTEND_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct http_request;
struct server;

struct http_request_link {
    struct http_request_link *previous, *next;
};
struct http_request_link *request_link(struct http_request *request);
struct http_request *request_of_link(struct http_request_link *link);

/* The hang-up watch saw the client of this request go. */
void request_on_hangup(void *request);

_Atomic uint64_t *server_stats(struct server *server);
bool server_logs_requests(const struct server *server);

#endif
