#include "cli/role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/bench.h"
#include "cli/generate.h"
#include "cli/title.h"
#include "frontend/frontend.h"
#include "proto/records/control.h"
#include "shm/channel.h"
#include "worker/worker.h"

enum { HELLO_MS = 10000 };

static int receive_hello(int control_fd, struct control_message *hello, int *fds, size_t *num_fds)
{
    struct pollfd wait = { .fd = control_fd, .events = POLLIN };
    if (poll(&wait, 1, HELLO_MS) != 1)
        return -ETIMEDOUT;
    const int n = channel_receive(control_fd, hello, sizeof(*hello), fds, num_fds);
    if (n != (int)sizeof(*hello) || hello->kind != CONTROL_HELLO || *num_fds < 4)
        return -EPROTO;
    return 0;
}

int role_main(int control_fd)
{
    struct control_message hello;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;

    fcntl(control_fd, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    if (receive_hello(control_fd, &hello, fds, &num_fds) < 0)
        return EXIT_CODE_USAGE;
    switch (hello.role) {
    case CONTROL_ROLE_FRONTEND:
        title_set("tokenring: frontend %u", hello.index);
        return frontend_main(control_fd, &hello, fds, num_fds);
    case CONTROL_ROLE_WORKER:
        title_set("tokenring: worker %u.%u", hello.engine, hello.rank);
        return worker_main(control_fd, &hello, fds, num_fds);
    case CONTROL_ROLE_GENERATE:
        title_set("tokenring: generate");
        return generate_main(control_fd, &hello, fds, num_fds);
    case CONTROL_ROLE_BENCH:
        title_set("tokenring: bench");
        return bench_main(control_fd, &hello, fds, num_fds);
    default:
        return EXIT_CODE_USAGE;
    }
}
