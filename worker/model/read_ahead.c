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

enum { ALIGNMENT = 4096, NUM_SAMPLES = 32, DEPTH = 256 };

struct slot {
    unsigned char *buffer;
    struct read_piece pieces[READ_AHEAD_PIECES];
    int32_t num;
    int fd, direct_fd;
    int32_t under_way;
};

struct read_ahead {
    struct io_uring ring;
    bool has_fixed;        /* the kernel knows the buffers */
    bool is_lost;          /* nobody can say when a buffer is whole */
    unsigned char *memory; /* NULL: the buffers are the caller's */
    size_t slot_bytes;
    struct slot slots[READ_AHEAD_SLOTS];
};

static const struct read_window no_window = { .fd = -1 };

/* The last piece that begins at `offset` or before, or NULL. */
static const struct read_piece *find_piece(const struct read_window *window, uint64_t offset)
{
    int32_t low = 0, high = window->num;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (window->pieces[middle].begin <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &window->pieces[low - 1] : NULL;
}

const unsigned char *read_window_find(const struct read_window *window, int fd, uint64_t offset,
                                      size_t bytes)
{
    if (window == NULL || window->fd != fd)
        return NULL;
    const struct read_piece *piece = find_piece(window, offset);
    if (piece == NULL || piece->data == NULL || offset - piece->begin > piece->bytes ||
        bytes > piece->bytes - (offset - piece->begin))
        return NULL;
    return piece->data + (offset - piece->begin);
}

bool read_window_get(const struct read_window *window, int fd, uint64_t offset, void *to,
                     size_t bytes)
{
    const unsigned char *from = read_window_find(window, fd, offset, bytes);
    if (from != NULL)
        memcpy(to, from, bytes);
    return from != NULL;
}

/* Does a piece end so near before `begin` that both become one? */
static bool join(const struct read_list *list, struct read_piece *piece, uint64_t begin,
                 size_t bytes)
{
    const uint64_t end = piece->begin + piece->bytes;
    if (begin < piece->begin || (begin > end && begin - end > list->gap))
        return false;
    if (begin + bytes > end)
        piece->bytes = (size_t)(begin + bytes - piece->begin);
    return true;
}

void read_list_add(struct read_list *list, int fd, uint64_t begin, size_t bytes)
{
    if (fd != list->fd || bytes == 0 || bytes > UINT64_MAX - begin)
        return;
    list->wanted += bytes;
    if (list->num > 0 && join(list, &list->pieces[list->num - 1], begin, bytes))
        return;
    list->is_full = list->is_full || list->num == READ_AHEAD_PIECES;
    if (!list->is_full)
        list->pieces[list->num++] = (struct read_piece){ begin, bytes, NULL };
}

static int compare(const void *a, const void *b)
{
    const struct read_piece *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

void read_list_sort(struct read_list *list)
{
    int32_t num = 0;
    qsort(list->pieces, (size_t)list->num, sizeof(*list->pieces), compare);
    for (int32_t i = 0; i < list->num; i++)
        if (num == 0 ||
            !join(list, &list->pieces[num - 1], list->pieces[i].begin, list->pieces[i].bytes))
            list->pieces[num++] = list->pieces[i];
    list->num = num;
}

/* Of a piece as it is read: whole pages. */
static size_t room_of(const struct read_piece *piece)
{
    const size_t before = (size_t)(piece->begin % ALIGNMENT);
    return (before + piece->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t read_list_room(const struct read_list *list)
{
    size_t room = 0;
    for (int32_t i = 0; i < list->num; i++)
        room += room_of(&list->pieces[i]);
    return room;
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

size_t read_ahead_buffer_bytes(size_t room)
{
    return (room + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int map_buffers(struct read_ahead *ahead)
{
    const size_t bytes = ahead->slot_bytes * READ_AHEAD_SLOTS;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    ahead->memory = memory;
    for (size_t i = 0; i < READ_AHEAD_SLOTS; i++)
        ahead->slots[i].buffer = ahead->memory + i * ahead->slot_bytes;
    return 0;
}

static void free_buffers(struct read_ahead *ahead)
{
    if (ahead->memory != NULL)
        munmap(ahead->memory, ahead->slot_bytes * READ_AHEAD_SLOTS);
    free(ahead);
}

int read_ahead_open(size_t room, unsigned char *const *buffers, struct read_ahead **ret_ahead)
{
    int r = 0;
    if (room > SIZE_MAX / READ_AHEAD_SLOTS - 3 * ALIGNMENT)
        return -ENOMEM;
    struct read_ahead *ahead = calloc(1, sizeof(*ahead));
    if (ahead == NULL)
        return -ENOMEM;
    ahead->slot_bytes = read_ahead_buffer_bytes(room);
    for (int i = 0; buffers != NULL && i < READ_AHEAD_SLOTS; i++)
        ahead->slots[i].buffer = buffers[i];
    if (buffers == NULL)
        r = map_buffers(ahead);
    if (r == 0)
        r = io_uring_queue_init(DEPTH, &ahead->ring, 0);
    if (r < 0) {
        free_buffers(ahead);
        return r;
    }
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
    free_buffers(ahead);
}

/* The end of a file makes a read short; anything else that does leaves the piece without data. */
static void take(struct read_ahead *ahead, const struct io_uring_cqe *cqe)
{
    const uint64_t data = io_uring_cqe_get_data64(cqe);
    struct slot *slot = &ahead->slots[data / READ_AHEAD_PIECES];
    struct read_piece *piece = &slot->pieces[data % READ_AHEAD_PIECES];
    const size_t wanted = (size_t)(piece->begin % ALIGNMENT) + piece->bytes;
    slot->under_way--;
    if (cqe->res < 0 || (size_t)cqe->res < wanted)
        piece->data = NULL;
}

/* Take one that is done; false where none can be waited for. */
static bool take_next(struct read_ahead *ahead)
{
    struct io_uring_cqe *cqe;
    int r;
    while ((r = io_uring_wait_cqe(&ahead->ring, &cqe)) == -EINTR || r == -EAGAIN)
        ;
    if (r < 0)
        return false;
    take(ahead, cqe);
    io_uring_cqe_seen(&ahead->ring, cqe);
    return true;
}

static bool flush(struct read_ahead *ahead)
{
    while (io_uring_sq_ready(&ahead->ring) > 0) {
        const int r = io_uring_submit(&ahead->ring);
        if (r <= 0 && r != -EINTR)
            return false;
    }
    return true;
}

/* An entry of the ring, of which no more than it has places are under way at once. */
static struct io_uring_sqe *get_entry(struct read_ahead *ahead)
{
    int32_t under_way = 0;
    for (int32_t i = 0; i < READ_AHEAD_SLOTS; i++)
        under_way += ahead->slots[i].under_way;
    if (under_way >= DEPTH && (!flush(ahead) || !take_next(ahead)))
        return NULL;
    return io_uring_get_sqe(&ahead->ring);
}

static bool submit(struct read_ahead *ahead, int32_t number, int32_t index, unsigned char *to)
{
    struct slot *slot = &ahead->slots[number];
    struct read_piece *piece = &slot->pieces[index];
    const uint64_t begin = piece->begin / ALIGNMENT * ALIGNMENT;
    const unsigned bytes = (unsigned)room_of(piece);
    struct io_uring_sqe *sqe = get_entry(ahead);
    if (sqe == NULL)
        return false;
    if (ahead->has_fixed)
        io_uring_prep_read_fixed(sqe, slot->direct_fd, to, bytes, begin, number);
    else
        io_uring_prep_read(sqe, slot->direct_fd, to, bytes, begin);
    io_uring_sqe_set_data64(sqe, (uint64_t)number * READ_AHEAD_PIECES + (uint64_t)index);
    piece->data = to + (piece->begin - begin);
    slot->under_way++;
    return true;
}

void read_ahead_begin(struct read_ahead *ahead, int32_t number, int direct_fd,
                      const struct read_list *list)
{
    struct slot *slot = &ahead->slots[number];
    const size_t room = read_list_room(list);
    size_t at = 0;
    slot->num = 0;
    if (direct_fd < 0 || list->num == 0 || room > ahead->slot_bytes || room > UINT32_MAX / 2 ||
        ahead->is_lost)
        return;
    slot->fd = list->fd;
    slot->direct_fd = direct_fd;
    memcpy(slot->pieces, list->pieces, (size_t)list->num * sizeof(*list->pieces));
    for (int32_t i = 0; i < list->num && submit(ahead, number, i, slot->buffer + at); i++) {
        at += room_of(&slot->pieces[i]);
        slot->num = i + 1;
    }
    ahead->is_lost = !flush(ahead);
}

struct read_window read_ahead_wait(struct read_ahead *ahead, int32_t number)
{
    struct slot *slot = &ahead->slots[number];
    while (slot->under_way > 0 && !ahead->is_lost)
        ahead->is_lost = !take_next(ahead);
    bool has_data = false;
    for (int32_t i = 0; !ahead->is_lost && i < slot->num; i++)
        has_data = has_data || slot->pieces[i].data != NULL;
    return has_data ? (struct read_window){ slot->fd, slot->num, slot->pieces } : no_window;
}
