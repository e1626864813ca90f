/*
 * server.h - listeners, connections and their limits
 *
 * One server per frontend process, over inherited listening sockets. It accepts, speaks
 * HTTP/1.1, HTTP/2 and TLS, watches for clients that hang up, and hands whole requests to
 * `handle`. Limits: connections in all and per address, time for a request to arrive, time a
 * connection may idle, cancelled requests per connection (README.md).
 */
#ifndef FRONTEND_SERVER_H
#define FRONTEND_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "frontend/http.h"
#include "frontend/loop.h"

struct server;

struct server_options {
    const int *listeners; /* taken over */
    size_t num_listeners;
    void *tls; /* SSL_CTX, or NULL for clear text */
    bool http2;
    size_t max_body_bytes; /* the library's limit lies 64 KiB above */
    uint32_t max_connections, max_connections_per_address;
    double body_timeout, keep_alive_timeout, slow_client_timeout; /* seconds */
    bool log_requests;
    size_t most_memory_bytes; /* above it nobody is let in, and who sends a body is cut */
    _Atomic uint64_t *stats;  /* words of the own status page */
    void (*handle)(void *data, struct http_request *request);
    void *data;
};

int server_create(struct loop *loop, const struct server_options *options,
                  struct server **ret_server, struct error *err);

/* New connections get this SSL_CTX; it is taken over, and the old one given back. */
void server_set_tls(struct server *server, void *tls);

/* Say goodbye on open connections and close idle ones at once; new ones are still answered. */
void server_request_shutdown(struct server *server);

/* Close the listeners. */
void server_stop_accepting(struct server *server);

/* Close connections without a request (after server_stop_accepting(), each second). */
void server_close_idle(struct server *server);

uint32_t server_num_connections(const struct server *server);
uint32_t server_num_requests(const struct server *server);

/* Look at every open request. `visit` may answer or kick the one it is given. */
void server_each_request(struct server *server,
                         void (*visit)(void *data, struct http_request *request), void *data);

#endif
