#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frontend/connection.h"
#include "tests/unit/runner.h"

enum { SECOND = 1000000 };

static struct connection_table table;
static bool input;

static bool has_input(void *socket)
{
    return socket != NULL && input;
}

static struct connection *open_from(const char *address, int fd)
{
    struct sockaddr_in from = { .sin_family = AF_INET };
    inet_pton(AF_INET, address, &from.sin_addr);
    return connection_open(&table, fd, &input, (struct sockaddr *)&from, 0);
}

static void setup(void)
{
    const struct connection_limits limits = {
        .total = 4, .per_address = 2, .read_timeout_us = 60 * SECOND, .idle_timeout_us = 75 * SECOND
    };
    connection_table_init(&table, &limits, has_input);
    input = false;
}

static void teardown(void)
{
    while (table.first != NULL)
        connection_close(table.first);
    ck_assert_int_eq((int)table.num, 0);
}

START_TEST(one_address_gets_no_more_than_its_share)
{
    ck_assert_ptr_nonnull(open_from("10.0.0.1", -1));
    struct connection *second = open_from("10.0.0.1", -1);
    ck_assert_ptr_null(open_from("10.0.0.1", -1));
    ck_assert_ptr_nonnull(open_from("10.0.0.2", -1));
    connection_close(second);
    ck_assert_ptr_nonnull(open_from("10.0.0.1", -1));
}
END_TEST

START_TEST(loopback_counts_in_the_total_only)
{
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(open_from("127.0.0.1", -1));
    ck_assert_ptr_null(open_from("127.0.0.1", -1));
    ck_assert_int_eq((int)table.num, 4);
}
END_TEST

START_TEST(mapped_addresses_are_the_same_client)
{
    struct sockaddr_in6 from = { .sin6_family = AF_INET6 };
    inet_pton(AF_INET6, "::ffff:10.0.0.1", &from.sin6_addr);
    ck_assert_ptr_nonnull(open_from("10.0.0.1", -1));
    ck_assert_ptr_nonnull(connection_open(&table, -1, NULL, (struct sockaddr *)&from, 0));
    ck_assert_ptr_null(open_from("10.0.0.1", -1));
}
END_TEST

START_TEST(hundred_cancels_at_once_are_allowed_then_it_is_cut)
{
    struct connection *connection = open_from("10.0.0.1", -1);
    for (int i = 0; i < CONNECTION_CANCEL_BURST; i++)
        connection_charge_cancel(connection, 0);
    ck_assert(!connection->cut);
    connection_charge_cancel(connection, 0);
    ck_assert(connection->cut);
    ck_assert_int_eq((int)table.num_cut, 1);
}
END_TEST

START_TEST(budget_fills_up_again_at_twenty_a_second)
{
    struct connection *connection = open_from("10.0.0.1", -1);
    for (int i = 0; i < CONNECTION_CANCEL_BURST; i++)
        connection_charge_cancel(connection, 0);
    for (int i = 0; i < 20; i++)
        connection_charge_cancel(connection, SECOND);
    ck_assert(!connection->cut);
    connection_charge_cancel(connection, SECOND);
    ck_assert(connection->cut);
}
END_TEST

START_TEST(slow_request_is_cut_and_the_peer_sees_the_end)
{
    int pair[2];
    char byte;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct connection *connection = open_from("10.0.0.1", pair[0]);
    input = true;
    connection_sweep(&table, 10 * SECOND); /* the first byte was seen here */
    connection_sweep(&table, 70 * SECOND);
    ck_assert(!connection->cut);
    connection_sweep(&table, 71 * SECOND);
    ck_assert(connection->cut);
    ck_assert_int_eq((int)read(pair[1], &byte, 1), 0);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

START_TEST(idle_connection_is_cut_and_a_busy_one_is_not)
{
    struct connection *idle = open_from("10.0.0.1", -1), *busy = open_from("10.0.0.2", -1);
    connection_request_begins(busy);
    connection_sweep(&table, 75 * SECOND);
    ck_assert(!idle->cut);
    connection_sweep(&table, 76 * SECOND);
    ck_assert(idle->cut);
    ck_assert(!busy->cut);
    connection_request_ends(busy, 1000LL * SECOND);
    connection_sweep(&table, 1075LL * SECOND);
    ck_assert(!busy->cut);
}
END_TEST

START_TEST(drain_cuts_those_without_a_request_but_not_who_just_came)
{
    struct connection *idle = open_from("10.0.0.1", -1), *busy = open_from("10.0.0.2", -1);
    struct connection *served = open_from("10.0.0.3", -1);
    connection_request_begins(busy);
    connection_request_begins(served);
    connection_request_ends(served, SECOND / 2);
    connection_cut_idle(&table, SECOND / 2);
    ck_assert(served->cut);
    ck_assert(!idle->cut);
    connection_cut_idle(&table, SECOND);
    ck_assert(idle->cut);
    ck_assert(!busy->cut);
}
END_TEST

RUN_SUITE_AROUND("connection", setup, teardown, one_address_gets_no_more_than_its_share,
                 loopback_counts_in_the_total_only, mapped_addresses_are_the_same_client,
                 hundred_cancels_at_once_are_allowed_then_it_is_cut,
                 budget_fills_up_again_at_twenty_a_second,
                 slow_request_is_cut_and_the_peer_sees_the_end,
                 idle_connection_is_cut_and_a_busy_one_is_not,
                 drain_cuts_those_without_a_request_but_not_who_just_came)
