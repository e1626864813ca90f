/*
 * idle.h - how long the device had nothing to do between two lists, for whoever measures
 *
 * Only when $TOKENRING_GPU_IDLE names a file: it is mapped, and holds a count and as many of the
 * newest times, in microseconds. Noting one is two stores, no system call.
 */
#ifndef KERNELS_CUDA_IDLE_H
#define KERNELS_CUDA_IDLE_H

#include <stdint.h>

enum { IDLE_MAX_TIMES = 1 << 16 };

struct idle {
    uint64_t num; /* the i-th lies in times[i % IDLE_MAX_TIMES] */
    float times[IDLE_MAX_TIMES];
};

/* NULL when nobody asked, or the file cannot be made. */
struct idle *idle_open(void);
void idle_note(struct idle *idle, float us);
void idle_close(struct idle *idle); /* accepts NULL */

#endif
