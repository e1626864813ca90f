#include "frontend/connection.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { FIRST_REQUEST_US = 1000000 };

void connection_table_init(struct connection_table *table, const struct connection_limits *limits,
                           bool (*has_input)(void *socket))
{
    *table = (struct connection_table){ .limits = *limits, .has_input = has_input };
}

/* The address as IPv6; false for peers that are not limited. */
static bool limited_address(const struct sockaddr *address, struct in6_addr *ret_address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    *ret_address = (struct in6_addr){ 0 };
    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        ret_address->s6_addr[10] = ret_address->s6_addr[11] = 0xFF;
        memcpy(&ret_address->s6_addr[12], &v4.sin_addr, 4);
        return ret_address->s6_addr[12] != 127;
    }
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&v6, address, sizeof(v6));
    *ret_address = v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(ret_address))
        return ret_address->s6_addr[12] != 127;
    return !IN6_IS_ADDR_LOOPBACK(ret_address);
}

static uint32_t num_from(const struct connection_table *table, const struct in6_addr *address)
{
    uint32_t n = 0;
    for (const struct connection *c = table->first; c != NULL; c = c->next)
        n += c->counted && memcmp(&c->address, address, sizeof(*address)) == 0;
    return n;
}

struct connection *connection_open(struct connection_table *table, int fd, void *socket,
                                   const struct sockaddr *address, int64_t now_us)
{
    struct in6_addr from;
    if (table->num >= table->limits.total)
        return NULL;
    const bool counted = limited_address(address, &from);
    if (counted && num_from(table, &from) >= table->limits.per_address)
        return NULL;
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return NULL;
    *connection = (struct connection){
        .table = table,
        .next = table->first,
        .fd = fd,
        .socket = socket,
        .counted = counted,
        .address = from,
        .cancels_left = CONNECTION_CANCEL_BURST,
        .refilled_us = now_us,
        .idle_since_us = now_us,
    };
    if (table->first != NULL)
        table->first->previous = connection;
    table->first = connection;
    table->num++;
    return connection;
}

void connection_close(struct connection *connection)
{
    struct connection_table *table = connection->table;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        table->first = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    table->num--;
    free(connection);
}

void connection_request_begins(struct connection *connection)
{
    connection->num_requests++;
    connection->reading_since_us = 0;
}

void connection_request_ends(struct connection *connection, int64_t now_us)
{
    connection->num_requests--;
    connection->served = true;
    connection->idle_since_us = now_us;
    connection->reading_since_us = 0;
}

void connection_cut(struct connection *connection)
{
    if (connection->cut)
        return;
    connection->cut = true;
    connection->table->num_cut++;
    (void)shutdown(connection->fd, SHUT_RDWR); /* fails when the peer was first: as good */
}

void connection_charge_cancel(struct connection *connection, int64_t now_us)
{
    const double seconds = (double)(now_us - connection->refilled_us) * 1e-6;
    connection->refilled_us = now_us;
    connection->cancels_left += seconds * CONNECTION_CANCELS_PER_SECOND;
    if (connection->cancels_left > CONNECTION_CANCEL_BURST)
        connection->cancels_left = CONNECTION_CANCEL_BURST;
    connection->cancels_left -= 1;
    if (connection->cancels_left < 0)
        connection_cut(connection);
}

static void sweep_one(struct connection *connection, int64_t now_us)
{
    const struct connection_table *table = connection->table;
    if (connection->num_requests > 0)
        return;
    if (table->has_input(connection->socket)) {
        if (connection->reading_since_us == 0)
            connection->reading_since_us = now_us;
        if (now_us - connection->reading_since_us > table->limits.read_timeout_us)
            connection_cut(connection);
        return;
    }
    connection->reading_since_us = 0;
    if (now_us - connection->idle_since_us > table->limits.idle_timeout_us)
        connection_cut(connection);
}

void connection_sweep(struct connection_table *table, int64_t now_us)
{
    for (struct connection *c = table->first; c != NULL; c = c->next)
        sweep_one(c, now_us);
}

void connection_cut_unadmitted(struct connection_table *table)
{
    for (struct connection *c = table->first; c != NULL; c = c->next)
        if (c->num_requests == 0)
            connection_cut(c);
}

/* Bytes that the loop has not come to yet. */
static bool has_unread(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

void connection_cut_idle(struct connection_table *table, int64_t now_us)
{
    for (struct connection *c = table->first; c != NULL; c = c->next) {
        const bool fresh = !c->served && now_us - c->idle_since_us < FIRST_REQUEST_US;
        if (c->num_requests == 0 && !fresh && !table->has_input(c->socket) && !has_unread(c->fd))
            connection_cut(c);
    }
}
