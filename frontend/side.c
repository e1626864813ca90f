#include "frontend/side.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "shm/doorbell.h"

struct queue {
    struct side_job *first, **last;
};

struct side {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct queue waiting, finished;
    size_t bytes, max_bytes;
    int bell;
};

static void queue_init(struct queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_push(struct queue *queue, struct side_job *job)
{
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

static struct side_job *queue_pop(struct queue *queue)
{
    struct side_job *job = queue->first;
    if (job == NULL)
        return NULL;
    queue->first = job->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return job;
}

static struct side_job *take_waiting(struct side *side)
{
    struct side_job *job;
    pthread_mutex_lock(&side->lock);
    while ((job = queue_pop(&side->waiting)) == NULL)
        pthread_cond_wait(&side->work, &side->lock);
    pthread_mutex_unlock(&side->lock);
    return job;
}

static void *side_main(void *data)
{
    struct side *side = data;
    for (;;) {
        struct side_job *job = take_waiting(side);
        job->run(job);
        pthread_mutex_lock(&side->lock);
        queue_push(&side->finished, job);
        pthread_mutex_unlock(&side->lock);
        doorbell_ring(side->bell);
    }
    return NULL;
}

static struct side_job *take_finished(struct side *side)
{
    pthread_mutex_lock(&side->lock);
    struct side_job *job = queue_pop(&side->finished);
    if (job != NULL)
        side->bytes -= job->bytes;
    pthread_mutex_unlock(&side->lock);
    return job;
}

static void on_finished(void *data)
{
    struct side *side = data;
    struct side_job *job;
    doorbell_clear(side->bell);
    while ((job = take_finished(side)) != NULL)
        job->done(job);
}

/* Signals are the main thread's. */
static int start_thread(struct side *side)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const int r = pthread_create(&thread, NULL, side_main, side);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pthread_detach(thread);
    return -r;
}

int side_create(struct loop *loop, size_t max_bytes, struct side **ret_side)
{
    struct side *side = calloc(1, sizeof(*side));
    if (side == NULL)
        return -ENOMEM;
    side->max_bytes = max_bytes;
    queue_init(&side->waiting);
    queue_init(&side->finished);
    pthread_mutex_init(&side->lock, NULL);
    pthread_cond_init(&side->work, NULL);
    int r = doorbell_create(&side->bell);
    if (r == 0)
        r = loop_watch(loop, side->bell, on_finished, side, NULL);
    if (r == 0)
        r = start_thread(side);
    if (r < 0) {
        free(side);
        return r;
    }
    *ret_side = side;
    return 0;
}

bool side_submit(struct side *side, struct side_job *job)
{
    pthread_mutex_lock(&side->lock);
    const bool room = side->bytes == 0 || job->bytes <= side->max_bytes - side->bytes;
    if (room) {
        side->bytes += job->bytes;
        queue_push(&side->waiting, job);
        pthread_cond_signal(&side->work);
    }
    pthread_mutex_unlock(&side->lock);
    return room;
}
