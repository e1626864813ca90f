#include "frontend/hangup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 256 };

struct hangup_watch {
    int epoll;
    void (*gone)(void *request);
};

/* One event at a time: what is done about one may remove others from the set. */
static void on_events(void *data)
{
    struct hangup_watch *watch = data;
    struct epoll_event event;
    for (int i = 0; i < EVENTS_PER_TURN && epoll_wait(watch->epoll, &event, 1, 0) == 1; i++)
        watch->gone(event.data.ptr);
}

int hangup_create(struct loop *loop, void (*gone)(void *request), struct hangup_watch **ret_watch)
{
    struct hangup_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return -ENOMEM;
    watch->gone = gone;
    watch->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (watch->epoll < 0) {
        const int r = -errno;
        free(watch);
        return r;
    }
    const int r = loop_watch(loop, watch->epoll, on_events, watch, NULL);
    if (r < 0) {
        close(watch->epoll);
        free(watch);
        return r;
    }
    *ret_watch = watch;
    return 0;
}

bool hangup_add(struct hangup_watch *watch, int fd, void *request)
{
    struct epoll_event event = { .events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = request };
    return epoll_ctl(watch->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void hangup_remove(struct hangup_watch *watch, int fd)
{
    (void)epoll_ctl(watch->epoll, EPOLL_CTL_DEL, fd, NULL); /* gone already: as good */
}
