#include "kernels/cuda/room.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "kernels/cuda/device.h"

enum { PAGE = 4096, FIRST_EVENT = DEVICE_FIRST_UPLOAD + DEVICE_NUM_UPLOADS };
_Static_assert(FIRST_EVENT + ROOM_MAX <= RUNTIME_NUM_EVENTS, "an event for each room");

void rooms_init(struct device *d)
{
    pthread_mutex_init(&d->rooms.lock, NULL);
}

static struct room *take_place(struct device *d)
{
    struct room *room = NULL;
    pthread_mutex_lock(&d->rooms.lock);
    for (int i = 0; room == NULL && i < ROOM_MAX; i++)
        if (!d->rooms.all[i].is_taken)
            room = &d->rooms.all[i];
    if (room != NULL)
        *room = (struct room){ .device = d, .is_taken = true };
    pthread_mutex_unlock(&d->rooms.lock);
    return room;
}

static void give_place(struct room *room)
{
    struct rooms *rooms = &room->device->rooms;
    pthread_mutex_lock(&rooms->lock);
    *room = (struct room){ .is_taken = false };
    pthread_mutex_unlock(&rooms->lock);
}

static unsigned char *map_pinned(struct device *d, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (runtime_pin(d->runtime, memory, bytes) == 0)
        return memory;
    munmap(memory, bytes);
    return NULL;
}

int room_open(struct device *d, size_t bytes, struct load_room **ret_room)
{
    if (bytes == 0 || bytes > SIZE_MAX - PAGE)
        return -ENOMEM;
    struct room *room = take_place(d);
    if (room == NULL)
        return -ENOMEM;
    room->lent.bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    room->lent.memory = map_pinned(d, room->lent.bytes);
    if (room->lent.memory == NULL) {
        give_place(room);
        return -ENOMEM;
    }
    *ret_room = &room->lent;
    return 0;
}

static int event_of(const struct room *room)
{
    return FIRST_EVENT + (int)(room - room->device->rooms.all);
}

void room_wait(struct load_room *lent)
{
    struct room *room = (struct room *)lent;
    if (!room->is_under_way)
        return;
    const int r = runtime_wait(room->device->runtime, event_of(room), -1);
    if (r < 0)
        device_note_failure(room->device, r);
    room->is_under_way = false;
}

void room_close(struct load_room *lent)
{
    struct room *room = (struct room *)lent;
    if (room == NULL)
        return;
    room_wait(lent);
    runtime_unpin(room->device->runtime, lent->memory);
    munmap(lent->memory, lent->bytes);
    give_place(room);
}

void rooms_wait(struct device *d)
{
    for (int i = 0; i < ROOM_MAX; i++)
        if (d->rooms.all[i].is_taken)
            room_wait(&d->rooms.all[i].lent);
}

void rooms_finish(struct device *d)
{
    for (int i = 0; i < ROOM_MAX; i++)
        assert(!d->rooms.all[i].is_taken); /* their borrowers close them */
    pthread_mutex_destroy(&d->rooms.lock);
}

static bool holds(const struct load_room *lent, const unsigned char *from, size_t stride,
                  size_t bytes, size_t num_rows)
{
    const size_t begin = (size_t)(from - lent->memory);
    return from >= lent->memory && begin <= lent->bytes &&
           (num_rows - 1) * stride + bytes <= lent->bytes - begin;
}

void room_send(struct load_room *lent, unsigned char *to, size_t to_stride,
               const unsigned char *from, size_t from_stride, size_t bytes, int32_t num_rows)
{
    struct room *room = (struct room *)lent;
    struct runtime *rt = room->device->runtime;
    const size_t num = (size_t)num_rows;
    assert(num_rows > 0 && holds(lent, from, from_stride, bytes, num));
    int r = to_stride == bytes && from_stride == bytes
                ? runtime_copy(rt, RUNTIME_LOAD, to, from, num * bytes)
                : runtime_copy_rows(rt, RUNTIME_LOAD, to, to_stride, from, from_stride, bytes, num);
    if (r == 0)
        r = runtime_record(rt, RUNTIME_LOAD, event_of(room));
    room->is_under_way = r == 0;
    if (r < 0) {
        device_note_failure(room->device, r);
        (void)runtime_drain(rt); /* no event says when it is over */
    }
    atomic_fetch_add(&room->device->loaded.sent, num * bytes);
    atomic_store(&room->device->is_loading, true);
}
