#include "supervisor/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/runner.h"

static int port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

START_TEST(a_port_in_use_is_said_with_address_and_number)
{
    int fds[4], more[4];
    struct error err;
    ck_assert_int_eq(listener_open("127.0.0.1", 0, fds, 4, &err), 1);
    const int port = port_of(fds[0]);

    ck_assert_int_eq(listener_open("127.0.0.1", port, more, 4, &err), -EADDRINUSE);
    char number[16];
    snprintf(number, sizeof(number), "%d", port);
    ck_assert_ptr_nonnull(strstr(err.message, number));
    ck_assert_ptr_nonnull(strstr(err.message, "127.0.0.1"));

    close(fds[0]);
    ck_assert_int_eq(listener_open("127.0.0.1", port, more, 4, &err), 1);
    close(more[0]);
}
END_TEST

START_TEST(every_numeric_form_of_an_address_is_taken)
{
    static const char *const hosts[] = { "127.0.0.1", "127.1", "0.0.0.0" };
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        int fds[4];
        struct error err;
        ck_assert_int_eq(listener_open(hosts[i], 0, fds, 4, &err), 1);
        close(fds[0]);
    }
}
END_TEST

START_TEST(what_is_no_address_of_ours_is_refused)
{
    int fds[4];
    struct error err;
    ck_assert_int_lt(listener_open("not a host", 80, fds, 4, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "not a host"));
    ck_assert_int_eq(listener_open("192.0.2.1", 8000, fds, 4, &err), -EADDRNOTAVAIL);
    ck_assert_ptr_nonnull(strstr(err.message, "192.0.2.1"));
}
END_TEST

RUN_SUITE("listener", a_port_in_use_is_said_with_address_and_number,
          every_numeric_form_of_an_address_is_taken, what_is_no_address_of_ours_is_refused)
