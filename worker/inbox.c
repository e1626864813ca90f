#include "worker/inbox.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum {
    CAPACITY = 4 * CONTROL_MAX_FRONTENDS,
    BEAT_MS = 250,
    FULL_MS = 10,
    STOP_MS = 1000,
};

struct inbox {
    int control, doorbell;
    struct status_page *page;
    pthread_t thread;
    _Atomic bool is_loading, must_stop;
    _Atomic int num; /* messages that wait; changed under the lock */
    pthread_mutex_t lock;
    int first;
    struct inbox_message messages[CAPACITY];
};

/* The engine has its second; nothing is lost with it. */
static void stop(struct inbox *inbox)
{
    if (!atomic_load(&inbox->is_loading)) {
        atomic_store(&inbox->must_stop, true);
        doorbell_ring(inbox->doorbell);
        poll(NULL, 0, STOP_MS);
    }
    _exit(EXIT_CODE_OK);
}

static void keep(struct inbox *inbox, const struct inbox_message *message)
{
    while (atomic_load(&inbox->num) == CAPACITY)
        poll(NULL, 0, FULL_MS);
    pthread_mutex_lock(&inbox->lock);
    const int num = atomic_load(&inbox->num);
    inbox->messages[(inbox->first + num) % CAPACITY] = *message;
    atomic_store(&inbox->num, num + 1);
    pthread_mutex_unlock(&inbox->lock);
    doorbell_ring(inbox->doorbell);
}

static void drop_fds(const struct inbox_message *message)
{
    for (size_t i = 0; i < message->num_fds; i++)
        close(message->fds[i]);
}

static void receive(struct inbox *inbox)
{
    struct inbox_message message;
    const int n = channel_receive(inbox->control, &message.control, sizeof(message.control),
                                  message.fds, &message.num_fds);
    if (n == -EAGAIN)
        return;
    if (n <= 0)
        stop(inbox);
    if (n != (int)sizeof(message.control))
        drop_fds(&message);
    else if (message.control.kind == CONTROL_STOP)
        stop(inbox);
    else
        keep(inbox, &message);
}

static void *watch(void *context)
{
    struct inbox *inbox = context;
    struct pollfd wait = { .fd = inbox->control, .events = POLLIN };
    for (;;) {
        const bool is_loading = atomic_load(&inbox->is_loading);
        if (poll(&wait, 1, is_loading ? BEAT_MS : -1) > 0)
            receive(inbox);
        if (is_loading)
            status_beat(inbox->page);
    }
    return NULL;
}

int inbox_open(int control_fd, int doorbell, struct status_page *page, struct inbox **ret_inbox,
               struct error *err)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    if (inbox == NULL)
        return error_set(err, -ENOMEM, "no memory for the control socket's messages");
    inbox->control = control_fd;
    inbox->doorbell = doorbell;
    inbox->page = page;
    atomic_store(&inbox->is_loading, true);
    pthread_mutex_init(&inbox->lock, NULL);
    const int r = pthread_create(&inbox->thread, NULL, watch, inbox);
    if (r != 0) {
        free(inbox);
        return error_set(err, -r, "no thread for the control socket: %s", strerror(r));
    }
    pthread_detach(inbox->thread); /* lives as long as the process */
    *ret_inbox = inbox;
    return 0;
}

void inbox_end_loading(struct inbox *inbox)
{
    atomic_store(&inbox->is_loading, false);
}

bool inbox_must_stop(const struct inbox *inbox)
{
    return atomic_load_explicit((_Atomic bool *)&inbox->must_stop, memory_order_relaxed);
}

bool inbox_take(struct inbox *inbox, struct inbox_message *ret_message)
{
    if (atomic_load_explicit(&inbox->num, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&inbox->lock);
    *ret_message = inbox->messages[inbox->first];
    inbox->first = (inbox->first + 1) % CAPACITY;
    atomic_fetch_sub(&inbox->num, 1);
    pthread_mutex_unlock(&inbox->lock);
    return true;
}
