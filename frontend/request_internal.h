/*
 * request_internal.h - the struct that request.c and request_head.c share
 */
#ifndef FRONTEND_REQUEST_INTERNAL_H
#define FRONTEND_REQUEST_INTERNAL_H

#include "frontend/connection.h"
#include "frontend/h2o_glue.h"
#include "frontend/request.h"

struct http_request {
    h2o_generator_t generator; /* first: the library hands back its address */
    h2o_timeout_entry_t deferred;
    h2o_req_t *req;
    struct server *server;
    struct connection *connection;
    struct http_request_link link;
    enum http_method method;
    bool watched;   /* for hang-up */
    bool started;   /* h2o_start_response() was called by http_stream_begin() */
    bool in_flight; /* between h2o_send() and proceed */
    bool last;      /* the buffer's end is the answer's */
    bool ended;     /* the final send was made, or the connection was given up */
    bool gave_up;   /* client gone: end at the next proceed */
    bool quiet;
    int status;
    struct http_caller caller;
    struct strbuf buffers[2]; /* one in flight, one filling */
    int filling;
    size_t num_sent;
    int64_t began_us, written_us;
    const struct http_owner *owner_kind;
    void *owner;
    void (*work)(void *data, struct http_request *request);
    void *work_data;
    char id[HTTP_REQUEST_ID_BYTES + 1];
};

/* Which of the methods that are told apart. */
enum http_method request_method_of(h2o_iovec_t text);

#endif
