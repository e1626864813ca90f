/*
 * read_ahead.h - bytes of a file that are on their way while others are repacked
 *
 * Direct reads through io_uring into buffers of one thread, a few at once: they cost a tenth of
 * the CPU time of buffered ones and leave the page cache to others. The buffers may be memory that
 * a device copies from by itself. Whoever finds no window, or
 * one without what it needs, reads the file itself: so nothing here is an error of the load.
 *
 * One thread for each struct.
 */
#ifndef WORKER_MODEL_READ_AHEAD_H
#define WORKER_MODEL_READ_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { READ_AHEAD_SLOTS = 4, READ_AHEAD_PIECES = 1024 };

/* How files are read. */
enum read_io {
    READ_IO_AUTO, /* directly where they are not cached */
    READ_IO_BUFFERED,
    READ_IO_DIRECT,
};

struct read_ahead;

struct read_piece {
    uint64_t begin; /* in the file */
    size_t bytes;
    const unsigned char *data; /* in memory, or NULL before it is read */
};

/* Ranges of bytes of a file, in memory, in the order of the file and apart. */
struct read_window {
    int fd; /* the file's, as its reader knows it; -1: no window */
    int32_t num;
    const struct read_piece *pieces;
};

/* Where `bytes` bytes from `offset` of the file lie; NULL when no piece has them all, also of a
 * window that is NULL. */
const unsigned char *read_window_find(const struct read_window *window, int fd, uint64_t offset,
                                      size_t bytes);

/* Copy them; false when there are none. */
bool read_window_get(const struct read_window *window, int fd, uint64_t offset, void *to,
                     size_t bytes);

/* Ranges to be read, of one file. What lies within `gap` of a piece is read with it. */
struct read_list {
    int fd;
    size_t gap;
    struct read_piece *pieces; /* [READ_AHEAD_PIECES] of the caller's */
    int32_t num;
    bool is_full;  /* there were more */
    size_t wanted; /* bytes, without the gaps */
};

/* Add a range behind those before, or one that another file or the list's length excludes: then
 * nothing happens, but for is_full. */
void read_list_add(struct read_list *list, int fd, uint64_t begin, size_t bytes);

/* Put ranges that were added in any order in the file's, and join those that are near. */
void read_list_sort(struct read_list *list);

/* Room that the pieces take in a slot. */
size_t read_list_room(const struct read_list *list);

/* Is most of the file in the page cache? Then buffered reads are faster than the disk. */
bool read_ahead_is_cached(int fd, uint64_t file_bytes);

/* A second descriptor of an open file for direct reads; -1 where it cannot be read so. */
int read_ahead_direct_fd(int fd);

/* Bytes of a buffer for lists of at most `room` bytes. */
size_t read_ahead_buffer_bytes(size_t room);

/*
 * READ_AHEAD_SLOTS buffers for lists of at most `room` bytes; `buffers` are the caller's, at
 * multiples of 4,096 and there until close, or NULL.
 *
 * Returns 0; -EPERM or -ENOSYS where io_uring is refused, -ENOMEM; ordinary, all of them.
 */
int read_ahead_open(size_t room, unsigned char *const *buffers, struct read_ahead **ret_ahead);
void read_ahead_close(struct read_ahead *ahead); /* accepts NULL; waits for what is under way */

/* Begin to read a list into a slot that is not under way: `direct_fd` is read. A list that is too
 * long, or a read that cannot begin, gives no window. */
void read_ahead_begin(struct read_ahead *ahead, int32_t slot, int direct_fd,
                      const struct read_list *list);

/* Wait for a slot. The window is valid until the slot's next list begins. */
struct read_window read_ahead_wait(struct read_ahead *ahead, int32_t slot);

#endif
