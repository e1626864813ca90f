#include "shm/doorbell.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int doorbell_create(int *ret_fd)
{
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

void doorbell_ring(int fd)
{
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof(one)); /* EAGAIN: it is ringing already */
}

void doorbell_clear(int fd)
{
    uint64_t count;
    (void)!read(fd, &count, sizeof(count));
}
