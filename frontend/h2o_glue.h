/*
 * h2o_glue.h - the only door to libh2o: included by loop.c, server.c, request.c and request_head.c
 *
 * What those share of the library's objects. Everybody else sees loop.h, server.h and
 * http.h, which name no type of the library, so that it can be replaced.
 */
#ifndef FRONTEND_H2O_GLUE_H
#define FRONTEND_H2O_GLUE_H

#include <h2o.h>
#if H2O_USE_LIBUV
#error "libh2o-evloop needs H2O_USE_EPOLL=1: the headers chose the layout of libuv"
#endif

#include "frontend/http.h"
#include "frontend/loop.h"
#include "frontend/server.h"

struct connection;
struct hangup_watch;

/* Make the record of a request that h2o hands over and pass it on. Called by the one handler. */
int request_begin(struct server *server, h2o_req_t *req);

/* Parts of struct server that request.c works with. */
h2o_context_t *server_context(struct server *server);
struct hangup_watch *server_hangup_watch(struct server *server);
struct connection *server_connection_of(h2o_req_t *req);
void server_link_request(struct server *server, struct http_request *request);
void server_unlink_request(struct server *server, struct http_request *request);
void server_handle(struct server *server, struct http_request *request);

h2o_evloop_t *loop_library(struct loop *loop);

#endif
