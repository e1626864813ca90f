#include "supervisor/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static int open_one(const struct addrinfo *address)
{
    const int on = 1;
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        const int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

static int explain(int r, const char *host, int port, struct error *err)
{
    if (r == -EADDRINUSE)
        return error_set_param(
            err, r, "port",
            "%s port %d is in use by another program; stop it or choose another --port", host,
            port);
    return error_set_param(err, r, "host", "cannot listen on %s port %d: %s", host, port,
                           strerror(-r));
}

int listener_open(const char *host, int port, int *ret_fds, int max, struct error *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found;
    char service[16];
    int num = 0, r = 0;

    snprintf(service, sizeof(service), "%d", port);
    const int problem = getaddrinfo(host, service, &hints, &found);
    if (problem != 0)
        return error_set_param(err, -EADDRNOTAVAIL, "host", "--host: \"%.64s\" is no address: %s",
                               host, gai_strerror(problem));
    for (const struct addrinfo *a = found; a != NULL && num < max && r >= 0; a = a->ai_next) {
        r = open_one(a);
        if (r == -EAFNOSUPPORT || (r == -EADDRNOTAVAIL && a->ai_next != NULL)) {
            r = 0;
            continue;
        }
        if (r >= 0)
            ret_fds[num++] = r;
    }
    freeaddrinfo(found);
    if (r >= 0 && num > 0)
        return num;
    while (num > 0)
        close(ret_fds[--num]);
    return explain(r < 0 ? r : -EADDRNOTAVAIL, host, port, err);
}
