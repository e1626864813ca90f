#include "shm/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control_buffer {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

int channel_create(int ret_fds[2])
{
    const int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
    return socketpair(AF_UNIX, type, 0, ret_fds) < 0 ? -errno : 0;
}

int channel_send(int channel, const void *message, size_t len, const int *fds, size_t num_fds)
{
    union control_buffer control;
    struct iovec part = { .iov_base = (void *)message, .iov_len = len };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

    if (len > CHANNEL_MESSAGE_MAX || num_fds > CHANNEL_FDS_MAX)
        return -EMSGSIZE;
    if (num_fds > 0) {
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, num_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(channel, &header, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* Take the descriptors of a message; returns their number. */
static size_t take_fds(struct msghdr *header, int *fds)
{
    size_t num = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + num, CMSG_DATA(c), n * sizeof(int));
        num += n;
    }
    return num;
}

int channel_receive(int channel, void *message, size_t size, int *ret_fds, size_t *ret_num_fds)
{
    union control_buffer control;
    struct iovec part = { .iov_base = message, .iov_len = size };
    struct msghdr header = { .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes) };
    /* A peer that died with our messages unread reports ECONNRESET once, before its last ones. */
    ssize_t n;
    do
        n = recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    *ret_num_fds = 0;
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    *ret_num_fds = take_fds(&header, ret_fds);
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        for (size_t i = 0; i < *ret_num_fds; i++)
            close(ret_fds[i]);
        *ret_num_fds = 0;
        return -EPROTO;
    }
    return (int)n;
}
