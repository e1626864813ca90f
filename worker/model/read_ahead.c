#include "worker/model/read_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ALIGNMENT = 4096, NUM_SAMPLES = 32 };

struct slot {
    unsigned char *buffer;
    struct read_window window;
    int direct_fd;
    uint64_t begin; /* aligned */
    size_t bytes;
    bool is_under_way;
};

struct read_ahead {
    struct io_uring ring;
    bool has_fixed; /* the kernel knows the buffers */
    unsigned char *memory;
    size_t slot_bytes;
    struct slot slots[READ_AHEAD_SLOTS];
};

static const struct read_window no_window = { .fd = -1 };

bool read_window_get(const struct read_window *window, int fd, uint64_t offset, void *to,
                     size_t bytes)
{
    if (window == NULL || window->fd != fd || offset < window->begin ||
        offset - window->begin > window->bytes || bytes > window->bytes - (offset - window->begin))
        return false;
    memcpy(to, window->data + (offset - window->begin), bytes);
    return true;
}

bool read_ahead_is_cached(int fd, uint64_t file_bytes)
{
    int32_t num_cached = 0;
    for (uint64_t i = 0; i < NUM_SAMPLES; i++) {
        char byte;
        const struct iovec to = { &byte, 1 };
        const uint64_t at = file_bytes / NUM_SAMPLES * i;
        const ssize_t n = preadv2(fd, &to, 1, (off_t)at, RWF_NOWAIT);
        num_cached += n >= 0 || errno != EAGAIN; /* who cannot tell is read as ever */
    }
    return num_cached > NUM_SAMPLES / 2;
}

int read_ahead_direct_fd(int fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

/* As a user with little RLIMIT_MEMLOCK one may read, only not into registered buffers. */
static void register_buffers(struct read_ahead *ahead)
{
    struct iovec buffers[READ_AHEAD_SLOTS];
    for (int i = 0; i < READ_AHEAD_SLOTS; i++)
        buffers[i] = (struct iovec){ ahead->slots[i].buffer, ahead->slot_bytes };
    ahead->has_fixed = io_uring_register_buffers(&ahead->ring, buffers, READ_AHEAD_SLOTS) == 0;
}

int read_ahead_open(size_t max_bytes, struct read_ahead **ret_ahead)
{
    struct read_ahead *ahead;
    if (max_bytes > SIZE_MAX / READ_AHEAD_SLOTS - 3 * ALIGNMENT)
        return -ENOMEM;
    ahead = calloc(1, sizeof(*ahead));
    if (ahead == NULL)
        return -ENOMEM;
    ahead->slot_bytes = (max_bytes + 3 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const size_t bytes = ahead->slot_bytes * READ_AHEAD_SLOTS;
    ahead->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r = ahead->memory == MAP_FAILED ? -ENOMEM
                                        : io_uring_queue_init(READ_AHEAD_SLOTS, &ahead->ring, 0);
    if (r < 0) {
        if (ahead->memory != MAP_FAILED)
            munmap(ahead->memory, bytes);
        free(ahead);
        return r;
    }
    for (size_t i = 0; i < READ_AHEAD_SLOTS; i++)
        ahead->slots[i] =
            (struct slot){ .buffer = ahead->memory + i * ahead->slot_bytes, .window = no_window };
    register_buffers(ahead);
    *ret_ahead = ahead;
    return 0;
}

void read_ahead_close(struct read_ahead *ahead)
{
    if (ahead == NULL)
        return;
    for (int32_t i = 0; i < READ_AHEAD_SLOTS; i++)
        (void)read_ahead_wait(ahead, i);
    io_uring_queue_exit(&ahead->ring);
    munmap(ahead->memory, ahead->slot_bytes * READ_AHEAD_SLOTS);
    free(ahead);
}

static bool submit(struct read_ahead *ahead, int32_t number)
{
    struct slot *slot = &ahead->slots[number];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ahead->ring);
    if (sqe == NULL)
        return false;
    if (ahead->has_fixed)
        io_uring_prep_read_fixed(sqe, slot->direct_fd, slot->buffer, (unsigned)slot->bytes,
                                 slot->begin, number);
    else
        io_uring_prep_read(sqe, slot->direct_fd, slot->buffer, (unsigned)slot->bytes, slot->begin);
    io_uring_sqe_set_data64(sqe, (uint64_t)number);
    return io_uring_submit(&ahead->ring) == 1;
}

void read_ahead_begin(struct read_ahead *ahead, int32_t slot, int direct_fd, int fd,
                      uint64_t offset, size_t bytes)
{
    struct slot *s = &ahead->slots[slot];
    s->window = no_window;
    if (direct_fd < 0 || bytes == 0 || bytes > ahead->slot_bytes - 2 * ALIGNMENT ||
        offset > INT64_MAX - ahead->slot_bytes)
        return;
    s->direct_fd = direct_fd;
    s->begin = offset / ALIGNMENT * ALIGNMENT;
    s->bytes = (size_t)(offset - s->begin) + bytes;
    s->bytes = (s->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    s->window = (struct read_window){
        .fd = fd, .begin = offset, .bytes = bytes, .data = s->buffer + (offset - s->begin)
    };
    s->is_under_way = submit(ahead, slot);
    if (!s->is_under_way)
        s->window = no_window;
}

/* The end of a file makes a read short; anything else that does leaves no window. */
static void take(struct slot *slot, int32_t result)
{
    const size_t wanted = (size_t)(slot->window.begin - slot->begin) + slot->window.bytes;
    slot->is_under_way = false;
    if (result < 0 || (size_t)result < wanted)
        slot->window = no_window;
}

struct read_window read_ahead_wait(struct read_ahead *ahead, int32_t slot)
{
    while (ahead->slots[slot].is_under_way) {
        struct io_uring_cqe *cqe;
        const int r = io_uring_wait_cqe(&ahead->ring, &cqe);
        if (r == -EINTR || r == -EAGAIN)
            continue;
        if (r < 0) { /* nobody can say when the buffer is whole */
            ahead->slots[slot].is_under_way = false;
            ahead->slots[slot].window = no_window;
            break;
        }
        take(&ahead->slots[io_uring_cqe_get_data64(cqe)], cqe->res);
        io_uring_cqe_seen(&ahead->ring, cqe);
    }
    return ahead->slots[slot].window;
}
