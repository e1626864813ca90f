#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/runner.h"

static int make_file(size_t bytes)
{
    const int fd = memfd_create("test_file", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)(i * 7 + i / 256);
        ck_assert_int_eq(write(fd, &c, 1), 1);
    }
    return fd;
}

START_TEST(read_at_takes_what_lies_there_and_moves_no_position)
{
    const int fd = make_file(1000);
    unsigned char bytes[300];
    const off_t before = lseek(fd, 0, SEEK_CUR);
    ck_assert_int_eq(file_read_at(fd, 500, bytes, sizeof(bytes)), 0);
    for (size_t i = 0; i < sizeof(bytes); i++)
        ck_assert_uint_eq(bytes[i], (unsigned char)((i + 500) * 7 + (i + 500) / 256));
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), before);
    close(fd);
}
END_TEST

START_TEST(read_at_may_end_at_the_last_byte_and_not_behind_it)
{
    const int fd = make_file(100);
    char bytes[101];
    ck_assert_int_eq(file_read_at(fd, 0, bytes, 100), 0);
    ck_assert_int_eq(file_read_at(fd, 99, bytes, 1), 0);
    ck_assert_int_eq(file_read_at(fd, 100, bytes, 0), 0);
    ck_assert_int_eq(file_read_at(fd, 0, bytes, 101), -EIO);
    ck_assert_int_eq(file_read_at(fd, 99, bytes, 2), -EIO);
    ck_assert_int_eq(file_read_at(fd, 5000, bytes, 1), -EIO);
    close(fd);
}
END_TEST

START_TEST(read_at_refuses_offsets_that_no_file_has)
{
    const int fd = make_file(10);
    char bytes[10];
    ck_assert_int_eq(file_read_at(fd, UINT64_MAX, bytes, 1), -EINVAL);
    ck_assert_int_eq(file_read_at(fd, INT64_MAX, bytes, 1), -EINVAL);
    close(fd);
}
END_TEST

START_TEST(read_at_gives_the_errno_of_pread)
{
    char bytes[10];
    ck_assert_int_eq(file_read_at(-1, 0, bytes, 10), -EBADF);
    const int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(dir, 0);
    ck_assert_int_eq(file_read_at(dir, 0, bytes, 10), -EISDIR);
    close(dir);
}
END_TEST

START_TEST(read_at_reads_holes_as_zeros)
{
    const int fd = make_file(3);
    char *bytes = malloc(1 << 20);
    int sum = 0;
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 1, 1 << 20);
    ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
    ck_assert_int_eq(file_read_at(fd, 3, bytes, (1 << 20) - 3), 0);
    for (size_t i = 0; i < (1 << 20) - 3; i++)
        sum += (unsigned char)bytes[i];
    ck_assert_int_eq(sum, 0);
    ck_assert_int_eq(bytes[(1 << 20) - 3], 1);
    free(bytes);
    close(fd);
}
END_TEST

START_TEST(hash_tells_every_bit_length_and_order_apart)
{
    unsigned char bytes[24] = { 0 };
    const uint64_t zero = file_hash(FILE_HASH_START, bytes, sizeof(bytes));
    for (size_t i = 0; i < 8 * sizeof(bytes); i++) {
        bytes[i / 8] = (unsigned char)(1 << i % 8);
        ck_assert_uint_ne(file_hash(FILE_HASH_START, bytes, sizeof(bytes)), zero);
        bytes[i / 8] = 0;
    }
    for (size_t a = 0; a <= sizeof(bytes); a++)
        for (size_t b = 0; b < a; b++)
            ck_assert_uint_ne(file_hash(FILE_HASH_START, bytes, a),
                              file_hash(FILE_HASH_START, bytes, b));
    const uint64_t ab = file_hash(file_hash(FILE_HASH_START, "a", 1), "b", 1);
    ck_assert_uint_ne(ab, file_hash(file_hash(FILE_HASH_START, "b", 1), "a", 1));
    ck_assert_uint_ne(ab, file_hash(FILE_HASH_START, "ab", 2));
}
END_TEST

RUN_SUITE("file", read_at_takes_what_lies_there_and_moves_no_position,
          read_at_may_end_at_the_last_byte_and_not_behind_it,
          read_at_refuses_offsets_that_no_file_has, read_at_gives_the_errno_of_pread,
          read_at_reads_holes_as_zeros, hash_tells_every_bit_length_and_order_apart)
