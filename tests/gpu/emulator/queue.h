/*
 * queue.h - the emulated device's stream: a thread that does one thing after the other
 *
 * So a list runs while its host records the next one, as on a device: memory that the host writes
 * too early, or results that it reads too early, are wrong here too. Libraries that stand for
 * NVIDIA's get the stream and call its first member.
 */
#ifndef TESTS_GPU_EMULATOR_QUEUE_H
#define TESTS_GPU_EMULATOR_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { QUEUE_MAX_ARGS = 256 };

struct queue {
    /* function(args) behind what was given before; args are copied. Part of a graph while this
     * thread keeps launches. */
    void (*call)(struct queue *queue, void (*function)(const void *args), const void *args,
                 size_t bytes);
    int (*keeps)(void); /* is what is given now part of a graph? */
    struct queue_own *own;
};

/* `is_late`: nothing is done before somebody waits for it, so that memory which is used again
 * before it was waited for has other bytes in it, every time. */
struct queue *queue_open(int is_late);
void queue_close(struct queue *queue); /* what was given is done first */

void queue_copy(struct queue *queue, void *to, const void *from, size_t bytes);

/* Marks count from 1: one is over when all that was given before it is done. */
uint64_t queue_mark(struct queue *queue);
int queue_wait(struct queue *queue, uint64_t mark, int64_t us); /* 0: over; 1: not within `us` */

/* What is given between begin and end is kept and not done. */
void queue_keep_begin(void);
void *queue_keep_end(void);
void queue_keep_do(struct queue *queue, void *kept);
void queue_keep_free(void *kept);

#ifdef __cplusplus
}

#include <functional>

void queue_add(struct queue *queue, const std::function<void()> &what);
#endif

#endif
