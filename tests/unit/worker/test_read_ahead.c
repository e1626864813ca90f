#include "worker/model/read_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../runner.h"

enum { FILE_BYTES = 300 * 1000 + 7 };

static unsigned char bytes[FILE_BYTES];
static int fd;

/* Beside the program: a file system of a build folder usually has direct reads. */
static void make_file(void)
{
    char name[] = "read_ahead_XXXXXX";
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)((state = state * 1664525 + 1013904223) >> 24);
    fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    unlink(name);
    ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    ck_assert_int_eq(fsync(fd), 0);
}

static void close_file(void)
{
    close(fd);
}

START_TEST(a_window_gives_what_lies_in_it_whole)
{
    static const struct read_piece pieces[] = { { 20, 10, bytes + 80 },
                                                { 100, 50, bytes },
                                                { 300, 50, NULL } };
    const struct read_window window = { .fd = 7, .num = 3, .pieces = pieces };
    const struct read_window none = { .fd = -1 };
    unsigned char to[64];
    ck_assert(read_window_get(&window, 7, 110, to, 40));
    ck_assert_mem_eq(to, bytes + 10, 40);
    ck_assert(read_window_get(&window, 7, 150, to, 0));
    ck_assert(read_window_get(&window, 7, 21, to, 9));
    ck_assert_mem_eq(to, bytes + 81, 9);
    ck_assert(!read_window_get(&window, 7, 21, to, 10));
    ck_assert(!read_window_get(&window, 7, 300, to, 1));
    ck_assert(!read_window_get(&window, 7, 19, to, 1));
    ck_assert(!read_window_get(&window, 7, 110, to, 41));
    ck_assert(!read_window_get(&window, 7, 99, to, 1));
    ck_assert(!read_window_get(&window, 7, 151, to, 0));
    ck_assert(!read_window_get(&window, 7, UINT64_MAX, to, 2));
    ck_assert(!read_window_get(&window, 8, 110, to, 1));
    ck_assert(!read_window_get(&none, 7, 110, to, 1));
    ck_assert(!read_window_get(NULL, 7, 110, to, 1));
}
END_TEST

static void begin(struct read_ahead *ahead, int32_t slot, int direct, uint64_t offset, size_t num)
{
    struct read_piece piece;
    struct read_list list = { .fd = fd, .pieces = &piece };
    read_list_add(&list, fd, offset, num);
    read_ahead_begin(ahead, slot, direct, &list);
}

START_TEST(ranges_that_are_near_become_one)
{
    struct read_piece pieces[READ_AHEAD_PIECES];
    struct read_list list = { .fd = 3, .gap = 10, .pieces = pieces };
    read_list_add(&list, 3, 100, 20);
    read_list_add(&list, 3, 130, 5);
    read_list_add(&list, 4, 140, 5); /* another file's */
    read_list_add(&list, 3, 146, 4);
    read_list_add(&list, 3, 50, 41);
    read_list_add(&list, 3, 100, 3);
    ck_assert_int_eq(list.num, 3);
    read_list_sort(&list);
    ck_assert_int_eq(list.num, 2);
    ck_assert_uint_eq(pieces[0].begin, 50);
    ck_assert_uint_eq(pieces[0].bytes, 85);
    ck_assert_uint_eq(pieces[1].begin, 146);
    ck_assert_uint_eq(list.wanted, 73);
    ck_assert_uint_eq(read_list_room(&list), 2 * 4096);
    for (uint64_t i = 0; i < READ_AHEAD_PIECES - 2; i++)
        read_list_add(&list, 3, 1000 + 100 * i, 1);
    ck_assert(!list.is_full);
    read_list_add(&list, 3, 1 << 20, 1);
    ck_assert(list.is_full);
}
END_TEST

/* More than are under way at once, over pages that some of them share. */
START_TEST(many_pieces_are_the_bytes_of_the_file)
{
    struct read_piece pieces[READ_AHEAD_PIECES];
    struct read_list list = { .fd = fd, .pieces = pieces };
    struct read_ahead *ahead;
    unsigned char to[300];
    const int direct = read_ahead_direct_fd(fd);
    for (uint64_t i = 0; i < 900; i++)
        read_list_add(&list, fd, 11 + 320 * i, 200 + i % 100);
    ck_assert_int_eq(list.num, 900);
    if (read_ahead_open(read_list_room(&list), NULL, &ahead) < 0)
        return;
    for (int32_t slot = 0; slot < READ_AHEAD_SLOTS; slot++)
        read_ahead_begin(ahead, slot, direct, &list);
    for (int32_t slot = 0; slot < READ_AHEAD_SLOTS; slot++) {
        const struct read_window window = read_ahead_wait(ahead, slot);
        ck_assert_int_eq(window.fd, direct >= 0 ? fd : -1);
        for (uint64_t i = 0; window.fd >= 0 && i < 900; i++) {
            ck_assert(read_window_get(&window, fd, 11 + 320 * i, to, 200 + i % 100));
            ck_assert_mem_eq(to, bytes + 11 + 320 * i, 200 + i % 100);
        }
    }
    read_ahead_close(ahead);
    close(direct);
}
END_TEST

START_TEST(ranges_at_any_place_are_the_bytes_of_the_file_or_no_window)
{
    static const struct {
        uint64_t offset;
        size_t num;
    } ranges[] = { { 0, 1 },       { 1, 4096 },           { 4095, 2 },        { 4096, 65536 },
                   { 12345, 777 }, { FILE_BYTES - 1, 1 }, { 200000, 100007 }, { 5, 100000 } };
    enum { NUM = sizeof(ranges) / sizeof(ranges[0]) };
    struct read_ahead *ahead;
    const int direct = read_ahead_direct_fd(fd);
    const int r = read_ahead_open(100007 + 8192, NULL, &ahead);
    ck_assert(r == 0 || r == -EPERM || r == -ENOSYS);
    for (int32_t i = 0; r == 0 && i < NUM; i++) {
        const int32_t slot = i % READ_AHEAD_SLOTS;
        begin(ahead, slot, direct, ranges[i].offset, ranges[i].num);
        const struct read_window window = read_ahead_wait(ahead, slot);
        ck_assert_int_eq(window.fd, direct >= 0 ? fd : -1);
        if (window.fd < 0)
            continue;
        ck_assert_int_eq(window.num, 1);
        ck_assert_uint_eq(window.pieces[0].begin, ranges[i].offset);
        ck_assert_uint_eq(window.pieces[0].bytes, ranges[i].num);
        ck_assert_mem_eq(window.pieces[0].data, bytes + ranges[i].offset, ranges[i].num);
    }
    if (r == 0)
        read_ahead_close(ahead);
    close(direct);
}
END_TEST

START_TEST(several_are_under_way_at_once_and_may_be_left)
{
    struct read_ahead *ahead;
    const int direct = read_ahead_direct_fd(fd);
    if (read_ahead_open(60000 + 8192, NULL, &ahead) < 0)
        return;
    for (int32_t i = 0; i < READ_AHEAD_SLOTS; i++)
        begin(ahead, i, direct, 50001u * (unsigned)i, 60000);
    for (int32_t i = READ_AHEAD_SLOTS - 1; i > 0; i--) {
        const struct read_window window = read_ahead_wait(ahead, i);
        if (window.fd >= 0)
            ck_assert_mem_eq(window.pieces[0].data, bytes + 50001 * i, 60000);
    }
    begin(ahead, 1, direct, 3, 60000);
    read_ahead_close(ahead);
    close(direct);
}
END_TEST

START_TEST(what_cannot_be_read_is_no_window)
{
    struct read_ahead *ahead;
    const int direct = read_ahead_direct_fd(fd);
    if (read_ahead_open(4096, NULL, &ahead) < 0)
        return;
    static const struct {
        uint64_t offset;
        size_t num;
    } ranges[] = {
        { FILE_BYTES - 10, 11 }, { 1u << 30, 1 }, { 0, 1 << 20 }, { 0, 0 }, { UINT64_MAX, 1 }
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        begin(ahead, 0, direct, ranges[i].offset, ranges[i].num);
        ck_assert_int_eq(read_ahead_wait(ahead, 0).fd, -1);
    }
    begin(ahead, 0, -1, 0, 16);
    ck_assert_int_eq(read_ahead_wait(ahead, 0).fd, -1);
    read_ahead_close(ahead);
    close(direct);
}
END_TEST

START_TEST(a_host_that_refuses_io_uring_is_told_from_one_that_lacks_memory)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };
    struct read_ahead *ahead;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return;
    ck_assert_int_eq(read_ahead_open(4096, NULL, &ahead), -EPERM);
    ck_assert_int_eq(read_ahead_open(SIZE_MAX / 2, NULL, &ahead), -ENOMEM);
}
END_TEST

START_TEST(what_was_just_written_is_cached)
{
    ck_assert(read_ahead_is_cached(fd, FILE_BYTES));
}
END_TEST

RUN_SUITE_AROUND("read_ahead", make_file, close_file, a_window_gives_what_lies_in_it_whole,
                 ranges_that_are_near_become_one, many_pieces_are_the_bytes_of_the_file,
                 ranges_at_any_place_are_the_bytes_of_the_file_or_no_window,
                 several_are_under_way_at_once_and_may_be_left, what_cannot_be_read_is_no_window,
                 a_host_that_refuses_io_uring_is_told_from_one_that_lacks_memory,
                 what_was_just_written_is_cached)
