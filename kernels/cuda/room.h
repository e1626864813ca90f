/*
 * room.h - memory of the host that files are read into and the device copies from
 *
 * A room is ordinary memory of the process that CUDA pins, and not memory of CUDA's: such pages can
 * be read into past the page cache, and registered with io_uring. Each has an event of its own, so
 * whoever reads into it waits for its own copies alone.
 */
#ifndef KERNELS_CUDA_ROOM_H
#define KERNELS_CUDA_ROOM_H

#include <pthread.h>

#include "kernels/backend.h"

enum { ROOM_MAX = 64 };

struct room {
    struct load_room lent; /* must be first */
    struct device *device;
    bool is_taken, is_under_way;
};

struct rooms {
    pthread_mutex_t lock;
    struct room all[ROOM_MAX];
};

void rooms_init(struct device *device);
void rooms_finish(struct device *device);
void rooms_wait(struct device *device); /* for what was sent from all of them */

int room_open(struct device *device, size_t bytes, struct load_room **ret_room);
void room_wait(struct load_room *room);
void room_close(struct load_room *room);

/* Rows of `bytes` bytes from a room to the device; what fails is noted there. */
void room_send(struct load_room *room, unsigned char *to, size_t to_stride,
               const unsigned char *from, size_t from_stride, size_t bytes, int32_t num_rows);

#endif
