#include "frontend/server.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "frontend/connection.h"
#include "frontend/h2o_glue.h"
#include "frontend/hangup.h"
#include "frontend/request.h"
#include "frontend/tls.h"
#include "proto/records/stats.h"

enum {
    ACCEPTS_PER_TURN = 16,
    MAX_LISTENERS = 8,
    BODY_SLACK_BYTES = 64 * 1024, /* just above the limit a client gets our JSON answer */
    HANDSHAKE_TIMEOUT_MS = 10000,
    KEEPALIVE_IDLE_SECONDS = 15,
};

struct handler {
    h2o_handler_t library; /* first */
    struct server *server;
};

struct server {
    struct server_options options;
    struct loop *loop;
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listeners[MAX_LISTENERS];
    size_t num_listeners;
    struct connection_table connections;
    struct hangup_watch *hangup;
    struct http_request_link requests; /* head of a ring */
    uint32_t num_requests;
    uint64_t num_cut_counted;
    bool is_full; /* of memory: nobody is let in */
};

h2o_context_t *server_context(struct server *server)
{
    return &server->context;
}

struct hangup_watch *server_hangup_watch(struct server *server)
{
    return server->hangup;
}

_Atomic uint64_t *server_stats(struct server *server)
{
    return server->options.stats;
}

bool server_logs_requests(const struct server *server)
{
    return server->options.log_requests;
}

struct connection *server_connection_of(h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

void server_handle(struct server *server, struct http_request *request)
{
    server->options.handle(server->options.data, request);
}

/* --- requests ----------------------------------------------------------------------------- */

void server_link_request(struct server *server, struct http_request *request)
{
    struct http_request_link *link = request_link(request);
    link->previous = server->requests.previous;
    link->next = &server->requests;
    link->previous->next = link;
    link->next->previous = link;
    server->num_requests++;
    stat_set(server->options.stats, STAT_INFLIGHT, server->num_requests);
}

void server_unlink_request(struct server *server, struct http_request *request)
{
    struct http_request_link *link = request_link(request);
    link->previous->next = link->next;
    link->next->previous = link->previous;
    server->num_requests--;
    stat_set(server->options.stats, STAT_INFLIGHT, server->num_requests);
}

void server_each_request(struct server *server,
                         void (*visit)(void *data, struct http_request *request), void *data)
{
    struct http_request_link *next;
    for (struct http_request_link *link = server->requests.next; link != &server->requests;
         link = next) {
        next = link->next;
        visit(data, request_of_link(link));
    }
}

uint32_t server_num_requests(const struct server *server)
{
    return server->num_requests;
}

uint32_t server_num_connections(const struct server *server)
{
    return server->connections.num;
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    return request_begin(((struct handler *)(void *)handler)->server, req);
}

/* --- connections -------------------------------------------------------------------------- */

static bool has_input(void *socket)
{
    return ((h2o_socket_t *)socket)->input->size != 0;
}

static void tell_connections(const struct server *server)
{
    stat_set(server->options.stats, STAT_CONNECTIONS, server->connections.num);
}

static void on_connection_close(void *data)
{
    struct connection *connection = data;
    unsigned char *table = (unsigned char *)connection->table;
    connection_close(connection);
    tell_connections((struct server *)(void *)(table - offsetof(struct server, connections)));
}

/* A peer that vanished without a word is noticed by the kernel: by unanswered data, or by probes
 * while nothing is sent. */
static void set_socket_options(const struct server *server, int fd)
{
    const int yes = 1, idle = KEEPALIVE_IDLE_SECONDS, interval = 5, count = 3;
    const unsigned timeout_ms = (unsigned)(server->options.slow_client_timeout * 1000);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes)); /* fails on unix sockets */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static void accept_one(struct server *server, h2o_socket_t *socket)
{
    struct sockaddr_storage address = { 0 };
    const int fd = h2o_socket_get_fd(socket);
    (void)h2o_socket_getpeername(socket, (struct sockaddr *)&address);
    struct connection *connection = connection_open(&server->connections, fd, socket,
                                                    (struct sockaddr *)&address, clock_now_us());
    if (connection == NULL) {
        stat_add(server->options.stats, STAT_CONNECTIONS_KICKED, 1);
        h2o_socket_close(socket);
        return;
    }
    tell_connections(server);
    set_socket_options(server, fd);
    socket->on_close.cb = on_connection_close;
    socket->on_close.data = connection;
    h2o_accept(&server->accept, socket);
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
    struct server *server = listener->data;
    if (err != NULL)
        return;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
        if (socket == NULL)
            return;
        accept_one(server, socket);
    }
}

static void check_slow(void *data, struct http_request *request)
{
    struct server *server = data;
    const int64_t since = http_stream_blocked_since_us(request);
    const int64_t limit = (int64_t)(server->options.slow_client_timeout * 1e6);
    if (since != 0 && clock_now_us() - since > limit)
        http_kick(request);
}

static void listen_again(struct server *server, bool yes)
{
    for (size_t i = 0; i < server->num_listeners; i++)
        if (yes)
            h2o_socket_read_start(server->listeners[i], on_accept);
        else
            h2o_socket_read_stop(server->listeners[i]);
}

/* The library reads bodies whole before anybody can refuse them: what they may take in all is
 * bounded here. Requests that are being answered go on. */
static void check_memory(struct server *server)
{
    const struct mallinfo2 info = mallinfo2();
    const size_t used = info.uordblks + info.hblkhd;
    const bool is_full = used > server->options.most_memory_bytes;
    if (is_full)
        connection_cut_unadmitted(&server->connections);
    if (is_full != server->is_full) {
        log_event(LOG_LEVEL_WARN, "%zu MiB are in use: connections are %s", used >> 20,
                  is_full ? "not accepted" : "accepted again");
        listen_again(server, !is_full);
    }
    server->is_full = is_full;
}

static void on_second(void *data)
{
    struct server *server = data;
    connection_sweep(&server->connections, clock_now_us());
    check_memory(server);
    server_each_request(server, check_slow, server);
    stat_add(server->options.stats, STAT_CONNECTIONS_KICKED,
             server->connections.num_cut - server->num_cut_counted);
    server->num_cut_counted = server->connections.num_cut;
}

/* --- start and end ------------------------------------------------------------------------ */

static uint64_t to_ms(double seconds)
{
    return (uint64_t)(seconds * 1000);
}

static void configure(struct server *server)
{
    h2o_globalconf_t *config = &server->config;
    const struct server_options *o = &server->options;

    h2o_config_init(config);
    config->server_name = h2o_iovec_init(H2O_STRLIT("tokenring"));
    config->max_request_entity_size = o->max_body_bytes + BODY_SLACK_BYTES;
    config->handshake_timeout = HANDSHAKE_TIMEOUT_MS;
    config->http1.req_timeout =
        to_ms(o->keep_alive_timeout); /* head, body and idle: its one timer */
    if (o->body_timeout > o->keep_alive_timeout)
        config->http1.req_timeout = to_ms(o->body_timeout);
    config->http1.upgrade_to_http2 = o->http2;
    config->http2.idle_timeout = to_ms(o->keep_alive_timeout);
    config->http2.max_concurrent_requests_per_connection = 100;
    h2o_hostconf_t *host =
        h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *handler =
        (struct handler *)(void *)h2o_create_handler(path, sizeof(struct handler));
    handler->library.on_req = on_request;
    handler->server = server;
}

static void listen_on(struct server *server, int fd)
{
    h2o_socket_t *listener =
        h2o_evloop_socket_create(loop_library(server->loop), fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->data = server;
    h2o_socket_read_start(listener, on_accept);
    server->listeners[server->num_listeners++] = listener;
}

static struct connection_limits limits_of(const struct server_options *o)
{
    return (struct connection_limits){
        .total = o->max_connections,
        .per_address = o->max_connections_per_address,
        .read_timeout_us = (int64_t)(o->body_timeout * 1e6),
        .idle_timeout_us = (int64_t)(o->keep_alive_timeout * 1e6),
    };
}

int server_create(struct loop *loop, const struct server_options *options,
                  struct server **ret_server, struct error *err)
{
    if (options->num_listeners == 0 || options->num_listeners > MAX_LISTENERS)
        return error_set(err, -EINVAL, "%zu listeners were handed over, 1 to %d are served",
                         options->num_listeners, MAX_LISTENERS);
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return error_set(err, -ENOMEM, "no memory for the server");
    server->options = *options;
    server->loop = loop;
    server->requests.previous = server->requests.next = &server->requests;
    const struct connection_limits limits = limits_of(options);
    connection_table_init(&server->connections, &limits, has_input);
    int r = hangup_create(loop, request_on_hangup, &server->hangup);
    if (r == 0)
        r = loop_every_second(loop, on_second, server);
    if (r < 0)
        return error_set(err, r, "the event loop cannot watch connections: %s", strerror(-r));
    configure(server);
    h2o_context_init(&server->context, loop_library(loop), &server->config);
    server->accept = (h2o_accept_ctx_t){ .ctx = &server->context,
                                         .hosts = server->config.hosts,
                                         .ssl_ctx = options->tls };
    for (size_t i = 0; i < options->num_listeners; i++)
        listen_on(server, options->listeners[i]);
    *ret_server = server;
    return 0;
}

void server_set_tls(struct server *server, void *tls)
{
    tls_destroy(server->accept.ssl_ctx); /* connections hold on to theirs */
    server->accept.ssl_ctx = tls;
}

void server_request_shutdown(struct server *server)
{
    h2o_context_request_shutdown(&server->context);
    server_close_idle(server);
}

void server_stop_accepting(struct server *server)
{
    for (size_t i = 0; i < server->num_listeners; i++)
        h2o_socket_close(server->listeners[i]);
    server->num_listeners = 0;
}

void server_close_idle(struct server *server)
{
    connection_cut_idle(&server->connections, clock_now_us());
}
