/*
 * The rules of libh2o 2.2.5 that this file keeps, each of which aborts the process when broken:
 * one h2o_send() at a time, the next only after `proceed`; its bytes untouched until then;
 * nothing of the request after the final one; no second answer. The destructor of the record in
 * the request's pool is the only notification that always comes.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "frontend/hangup.h"
#include "frontend/request_internal.h"
#include "proto/records/stats.h"

struct http_request_link *request_link(struct http_request *request)
{
    return &request->link;
}

struct http_request *request_of_link(struct http_request_link *link)
{
    return (struct http_request *)(void *)((char *)link - offsetof(struct http_request, link));
}

/* --- the end of a request ----------------------------------------------------------------- */

static void tell_gone(struct http_request *request)
{
    const struct http_owner *kind = request->owner_kind;
    request->owner_kind = NULL;
    request->work = NULL;
    if (kind != NULL)
        kind->gone(request->owner);
}

static void count_status(const struct http_request *request)
{
    _Atomic uint64_t *stats = server_stats(request->server);
    if (request->status >= 500)
        stat_add(stats, STAT_HTTP_5XX, 1);
    else if (request->status >= 400)
        stat_add(stats, STAT_HTTP_4XX, 1);
    else if (request->status >= 200)
        stat_add(stats, STAT_HTTP_2XX, 1);
}

static void log_line(const struct http_request *request, int64_t now_us)
{
    if (request->quiet || !server_logs_requests(request->server))
        return;
    const h2o_iovec_t path = request->req->path_normalized;
    const h2o_iovec_t method = request->req->input.method;
    const int len = path.len < 80 ? (int)path.len : 80;
    log_event(LOG_LEVEL_INFO, "request id=%s method=%.*s path=%.*s status=%d bytes=%zu ms=%.1f",
              request->id, method.len < 16 ? (int)method.len : 16, method.base, len,
              path.base ? path.base : "",
              request->ended && !request->gave_up ? request->status : 499, request->num_sent,
              (double)(now_us - request->began_us) / 1000);
}

/* Runs when the pool of the request is cleared: after the last byte, or when the peer is gone. */
static void on_dispose(void *data)
{
    struct http_request *request = data;
    const int64_t now = clock_now_us();
    const bool finished = request->ended && !request->gave_up;

    tell_gone(request);
    h2o_timeout_unlink(&request->deferred);
    if (request->watched)
        hangup_remove(server_hangup_watch(request->server), request->connection->fd);
    count_status(request);
    log_line(request, now);
    connection_request_ends(request->connection, now);
    if (!finished)
        connection_charge_cancel(request->connection, now);
    server_unlink_request(request->server, request);
    strbuf_finish(&request->buffers[0]);
    strbuf_finish(&request->buffers[1]);
}

/* --- sending ------------------------------------------------------------------------------ */

static void send_last(struct http_request *request, h2o_iovec_t piece)
{
    request->ended = true;
    request->owner_kind = NULL;
    h2o_send(request->req, &piece, piece.len != 0, H2O_SEND_STATE_FINAL);
    /* the request may be gone */
}

static void give_up(struct http_request *request)
{
    request->ended = true;
    h2o_send(request->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

static void pump(struct http_request *request)
{
    if (!request->started || request->in_flight || request->ended)
        return;
    struct strbuf *buffer = &request->buffers[request->filling];
    if (buffer->failed) {
        http_kick(request);
        return;
    }
    if (buffer->len == 0 && !request->last)
        return;
    h2o_iovec_t piece = h2o_iovec_init(buffer->data, buffer->len);
    request->filling ^= 1;
    strbuf_reset(&request->buffers[request->filling]);
    request->num_sent += piece.len;
    request->written_us = clock_now_us();
    if (request->last) {
        send_last(request, piece);
        return;
    }
    request->in_flight = true;
    h2o_send(request->req, &piece, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct http_request *request = (struct http_request *)(void *)generator;
    (void)req;
    request->in_flight = false;
    if (request->gave_up) {
        if (!request->ended)
            give_up(request);
        return;
    }
    if (request->owner_kind != NULL && request->owner_kind->writable != NULL)
        request->owner_kind->writable(request->owner);
    pump(request);
}

static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)generator; /* the destructor follows and does it all */
    (void)req;
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {
        { 200, "OK" },
        { 204, "No Content" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 413, "Payload Too Large" },
        { 415, "Unsupported Media Type" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 499, "Client Closed Request" },
        { 500, "Internal Server Error" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Status";
}

void http_add_header(struct http_request *request, const char *lower_case_name, const char *value)
{
    h2o_mem_pool_t *pool = &request->req->pool;
    const h2o_iovec_t name = h2o_strdup(pool, lower_case_name, SIZE_MAX);
    const h2o_iovec_t copy = h2o_strdup(pool, value, SIZE_MAX);
    h2o_add_header_by_str(pool, &request->req->res.headers, name.base, name.len, 1, NULL, copy.base,
                          copy.len);
}

void http_close_after(struct http_request *request)
{
    request->req->http1_is_persistent = 0;
}

static void begin_answer(struct http_request *request, int status, const char *content_type)
{
    request->status = status;
    request->req->res.status = status;
    request->req->res.reason = reason_of(status);
    if (request->id[0] != '\0')
        http_add_header(request, "x-request-id", request->id);
    if (content_type != NULL)
        http_add_header(request, "content-type", content_type);
}

void http_reply(struct http_request *request, int status, const char *content_type,
                const char *data, size_t len)
{
    if (request->ended || request->started)
        return;
    begin_answer(request, status, content_type);
    request->req->res.content_length = len;
    request->ended = true;
    request->owner_kind = NULL;
    request->work = NULL;
    request->num_sent = len;
    request->written_us = clock_now_us();
    h2o_send_inline(request->req, data, len); /* the request may be gone */
}

void http_stream_begin(struct http_request *request, int status, const char *content_type)
{
    if (request->ended || request->started)
        return;
    begin_answer(request, status, content_type);
    request->started = true;
    request->written_us = clock_now_us();
    h2o_start_response(request->req, &request->generator);
}

struct strbuf *http_stream_buffer(struct http_request *request)
{
    return &request->buffers[request->filling];
}

void http_stream_flush(struct http_request *request)
{
    pump(request);
}

void http_stream_end(struct http_request *request)
{
    request->last = true;
    request->owner_kind = NULL;
    request->work = NULL;
    pump(request);
}

bool http_is_streaming(const struct http_request *request)
{
    return request->started && !request->last && !request->ended;
}

int64_t http_stream_blocked_since_us(const struct http_request *request)
{
    return request->in_flight || request->ended ? request->written_us : 0;
}

int64_t http_stream_last_write_us(const struct http_request *request)
{
    return request->written_us;
}

/* --- giving up ---------------------------------------------------------------------------- */

/* The client has gone, or is made to go. With the socket shut down every write fails, so the
 * library closes the connection by whichever of its paths comes next. */
static void abandon(struct http_request *request)
{
    request->req->http1_is_persistent = 0;
    connection_cut(request->connection);
    if (request->ended)
        return;
    request->gave_up = true;
    tell_gone(request);
    if (request->in_flight || request->req->version >= 0x200)
        return; /* the failing write, or the failing read of HTTP/2, ends it */
    if (request->started) {
        give_up(request);
        return;
    }
    begin_answer(request, 499, NULL);
    request->ended = true;
    request->req->res.content_length = 0;
    h2o_send_inline(request->req, "", 0);
}

void http_kick(struct http_request *request)
{
    abandon(request);
}

void request_on_hangup(void *data)
{
    struct http_request *request = data;
    if (!request->ended)
        abandon(request);
}

/* --- holding on --------------------------------------------------------------------------- */

void http_attach(struct http_request *request, const struct http_owner *kind, void *owner)
{
    request->owner_kind = kind;
    request->owner = owner;
}

static void on_deferred(h2o_timeout_entry_t *entry)
{
    struct http_request *request =
        (struct http_request *)(void *)((char *)entry - offsetof(struct http_request, deferred));
    void (*work)(void *, struct http_request *) = request->work;
    request->work = NULL;
    if (work != NULL && !request->ended)
        work(request->work_data, request);
}

void http_defer(struct http_request *request, void (*work)(void *data, struct http_request *),
                void *data)
{
    h2o_context_t *context = server_context(request->server);
    request->work = work;
    request->work_data = data;
    if (!h2o_timeout_is_linked(&request->deferred))
        h2o_timeout_link(context->loop, &context->zero_timeout, &request->deferred);
}

void http_set_quiet(struct http_request *request)
{
    request->quiet = true;
}

/* --- arrival ------------------------------------------------------------------------------ */

int request_begin(struct server *server, h2o_req_t *req)
{
    struct http_request *request = h2o_mem_alloc_shared(&req->pool, sizeof(*request), on_dispose);

    *request = (struct http_request){
        .generator = { .proceed = on_proceed, .stop = on_stop },
        .deferred = { .cb = on_deferred },
        .req = req,
        .server = server,
        .connection = server_connection_of(req),
        .method = request_method_of(req->input.method),
        .began_us = clock_now_us(),
    };
    server_link_request(server, request);
    connection_request_begins(request->connection);
    if (req->version < 0x200)
        request->watched =
            hangup_add(server_hangup_watch(server), request->connection->fd, request);
    server_handle(server, request);
    return 0;
}
