/*
 * connection.h - one record per open connection, and the limits kept on it
 *
 * Caps in all and per address; a budget of cancelled requests (a token bucket: a client that
 * opens requests only to reset them is cut off); the ages by which idle and half-sent
 * connections are closed. One thread; no system call but shutdown(2).
 */
#ifndef FRONTEND_CONNECTION_H
#define FRONTEND_CONNECTION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { CONNECTION_CANCEL_BURST = 100, CONNECTION_CANCELS_PER_SECOND = 20 };

struct connection_table;

struct connection {
    struct connection_table *table;
    struct connection *previous, *next;
    int fd;
    void *socket; /* the library's */
    bool counted; /* against its address */
    struct in6_addr address;
    uint32_t num_requests; /* being handled */
    double cancels_left;
    int64_t refilled_us;
    int64_t idle_since_us;    /* no request being handled and no unread input since */
    int64_t reading_since_us; /* 0, or: a request is arriving since */
    bool served;              /* a request has ended */
    bool cut;                 /* shutdown(2) was called */
};

struct connection_limits {
    uint32_t total, per_address;
    int64_t read_timeout_us; /* from the first byte of a request to its last */
    int64_t idle_timeout_us;
};

struct connection_table {
    struct connection_limits limits;
    struct connection *first;
    uint32_t num;
    uint64_t num_cut;
    bool (*has_input)(void *socket); /* bytes of an unfinished request lie in its buffer */
};

void connection_table_init(struct connection_table *table, const struct connection_limits *limits,
                           bool (*has_input)(void *socket));

/*
 * Enter a new connection. Loopback and unix sockets count in the total only: behind them is a
 * proxy or a benchmark.
 *
 * Returns NULL when a limit is reached or memory is out: close it.
 */
struct connection *connection_open(struct connection_table *table, int fd, void *socket,
                                   const struct sockaddr *address, int64_t now_us);
void connection_close(struct connection *connection); /* forget it; does not touch the fd */

void connection_request_begins(struct connection *connection);
void connection_request_ends(struct connection *connection, int64_t now_us);

/* A request ended unfinished. Cuts the connection when its budget is spent. */
void connection_charge_cancel(struct connection *connection, int64_t now_us);

/* Stop both directions: the library meets the end and tidies up. */
void connection_cut(struct connection *connection);

/* Once a second: cut what took too long. */
void connection_sweep(struct connection_table *table, int64_t now_us);

/* Cut those without a request, whatever they are sending. */
void connection_cut_unadmitted(struct connection_table *table);

/* Cut those without a request; new ones get a second to send their first. */
void connection_cut_idle(struct connection_table *table, int64_t now_us);

#endif
