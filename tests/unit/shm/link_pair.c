#include "tests/unit/shm/link_pair.h"

#include <check.h>
#include <unistd.h>

static void make(struct ring_geometry g, enum segment_kind kind, struct segment *ret_write,
                 struct segment *ret_read)
{
    struct segment_header header = ring_segment_header(kind, g, 7, 9);
    int write_fd, read_fd;
    ck_assert_int_eq(segment_create(&header, &write_fd, &read_fd, NULL), 0);
    ck_assert_int_eq(segment_map(ret_write, write_fd, true, &header, NULL), 0);
    ck_assert_int_eq(segment_map(ret_read, read_fd, false, &header, NULL), 0);
    close(write_fd);
    close(read_fd);
}

void link_pair_open(struct link_pair *pair, struct ring_geometry g)
{
    struct segment a_read, b_read;
    make(g, SEGMENT_SUBMIT, &pair->a_writable, &a_read);
    make(g, SEGMENT_COMPLETE, &pair->b_writable, &b_read);
    ring_end_init(&pair->a, pair->a_writable, g, b_read, g, 7, 9);
    ring_end_init(&pair->b, pair->b_writable, g, a_read, g, 7, 9);
}

void link_pair_close(struct link_pair *pair)
{
    ring_end_finish(&pair->a);
    ring_end_finish(&pair->b);
}
