/*
 * read_ahead.h - bytes of a file that are on their way while others are repacked
 *
 * Direct reads through io_uring into buffers of one thread, a few at once: they cost a tenth of
 * the CPU time of buffered ones and leave the page cache to others. Whoever finds no window, or
 * one without what it needs, reads the file itself: so nothing here is an error of the load.
 *
 * One thread for each struct.
 */
#ifndef WORKER_MODEL_READ_AHEAD_H
#define WORKER_MODEL_READ_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { READ_AHEAD_SLOTS = 4 };

/* How files are read. */
enum read_io {
    READ_IO_AUTO, /* directly where they are not cached */
    READ_IO_BUFFERED,
    READ_IO_DIRECT,
};

struct read_ahead;

/* A range of bytes of a file, in memory. */
struct read_window {
    int fd; /* the file's, as its reader knows it; -1: no window */
    uint64_t begin;
    size_t bytes;
    const unsigned char *data;
};

/* Copy `bytes` bytes from `offset` of the file; false when they are not all in the window, which
 * may be NULL. */
bool read_window_get(const struct read_window *window, int fd, uint64_t offset, void *to,
                     size_t bytes);

/* Is most of the file in the page cache? Then buffered reads are faster than the disk. */
bool read_ahead_is_cached(int fd, uint64_t file_bytes);

/* A second descriptor of an open file for direct reads; -1 where it cannot be read so. */
int read_ahead_direct_fd(int fd);

/*
 * READ_AHEAD_SLOTS buffers for ranges of at most `max_bytes`.
 *
 * Returns 0; -EPERM or -ENOSYS where io_uring is refused, -ENOMEM; ordinary, all of them.
 */
int read_ahead_open(size_t max_bytes, struct read_ahead **ret_ahead);
void read_ahead_close(struct read_ahead *ahead); /* accepts NULL; waits for what is under way */

/* Begin to read a range into a slot that is not under way: `direct_fd` is read, `fd` names the
 * file in the window. A range that is too long, or a read that cannot begin, gives no window. */
void read_ahead_begin(struct read_ahead *ahead, int32_t slot, int direct_fd, int fd,
                      uint64_t offset, size_t bytes);

/* Wait for a slot. The window is valid until the slot's next range begins. */
struct read_window read_ahead_wait(struct read_ahead *ahead, int32_t slot);

#endif
