#include "frontend/loop.h"

#include <errno.h>
#include <stdlib.h>

#include "frontend/h2o_glue.h"

struct loop {
    h2o_evloop_t *library;
    h2o_timeout_t now, second;
    struct loop_watch *watches; /* so that what lives as long as the process has an owner */
};

struct loop_watch {
    struct loop_watch *next, **link; /* *link is this one */
    h2o_socket_t *socket;
    loop_callback callback;
    void *data;
};

struct loop_deferred {
    h2o_timeout_entry_t entry; /* first: the library hands back its address */
    struct loop *loop;
    h2o_timeout_t *list;
    loop_callback callback;
    void *data;
};

h2o_evloop_t *loop_library(struct loop *loop)
{
    return loop->library;
}

int loop_create(struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return -ENOMEM;
    loop->library = h2o_evloop_create();
    h2o_timeout_init(loop->library, &loop->now, 0);
    h2o_timeout_init(loop->library, &loop->second, 1000);
    *ret_loop = loop;
    return 0;
}

static void on_readable(h2o_socket_t *socket, const char *err)
{
    struct loop_watch *watch = socket->data;
    (void)err; /* whoever reads the descriptor meets the error itself */
    watch->callback(watch->data);
}

int loop_watch(struct loop *loop, int fd, loop_callback callback, void *data,
               struct loop_watch **ret_watch)
{
    struct loop_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return -ENOMEM;
    watch->callback = callback;
    watch->data = data;
    watch->socket = h2o_evloop_socket_create(loop->library, fd, H2O_SOCKET_FLAG_DONT_READ);
    watch->socket->data = watch;
    watch->next = loop->watches;
    watch->link = &loop->watches;
    if (watch->next != NULL)
        watch->next->link = &watch->next;
    loop->watches = watch;
    h2o_socket_read_start(watch->socket, on_readable);
    if (ret_watch != NULL)
        *ret_watch = watch;
    return 0;
}

void loop_unwatch(struct loop_watch *watch)
{
    if (watch == NULL)
        return;
    *watch->link = watch->next;
    if (watch->next != NULL)
        watch->next->link = watch->link;
    h2o_socket_close(watch->socket);
    free(watch);
}

static struct loop_deferred *deferred_create(struct loop *loop, h2o_timeout_t *list,
                                             loop_callback callback, void *data,
                                             h2o_timeout_cb on_due)
{
    struct loop_deferred *deferred = calloc(1, sizeof(*deferred));
    if (deferred == NULL)
        return NULL;
    deferred->entry.cb = on_due;
    deferred->loop = loop;
    deferred->list = list;
    deferred->callback = callback;
    deferred->data = data;
    return deferred;
}

static void on_deferred(h2o_timeout_entry_t *entry)
{
    struct loop_deferred *deferred = (struct loop_deferred *)(void *)entry;
    deferred->callback(deferred->data);
}

int loop_deferred_create(struct loop *loop, loop_callback callback, void *data,
                         struct loop_deferred **ret_deferred)
{
    *ret_deferred = deferred_create(loop, &loop->now, callback, data, on_deferred);
    return *ret_deferred == NULL ? -ENOMEM : 0;
}

void loop_defer(struct loop_deferred *deferred)
{
    if (!h2o_timeout_is_linked(&deferred->entry))
        h2o_timeout_link(deferred->loop->library, deferred->list, &deferred->entry);
}

static void on_second(h2o_timeout_entry_t *entry)
{
    struct loop_deferred *deferred = (struct loop_deferred *)(void *)entry;
    loop_defer(deferred);
    deferred->callback(deferred->data);
}

int loop_every_second(struct loop *loop, loop_callback callback, void *data)
{
    struct loop_deferred *deferred =
        deferred_create(loop, &loop->second, callback, data, on_second);
    if (deferred == NULL)
        return -ENOMEM;
    loop_defer(deferred);
    return 0;
}

void loop_turn(struct loop *loop, int32_t max_wait_ms)
{
    (void)h2o_evloop_run(loop->library, max_wait_ms); /* -1 with EINTR is an ordinary turn */
}
