#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/runner.h"

static struct segment_header header_of(uint64_t size)
{
    return (struct segment_header){ .kind = SEGMENT_STATUS, .epoch = 3, .size = size };
}

START_TEST(the_size_is_sealed_and_nobody_maps_it_writable_again)
{
    struct segment_header header = header_of(8192);
    struct segment segment;
    int write_fd, read_fd;
    ck_assert_int_eq(segment_create(&header, &write_fd, &read_fd, NULL), 0);
    ck_assert_int_eq(ftruncate(write_fd, 4096), -1);
    ck_assert_int_eq(ftruncate(write_fd, 16384), -1);
    ck_assert_int_eq(segment_map(&segment, write_fd, true, &header, NULL), 0);
    ck_assert_ptr_eq(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, write_fd, 0), MAP_FAILED);
    ck_assert_ptr_eq(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, read_fd, 0), MAP_FAILED);
    segment_unmap(&segment);
    segment_unmap(&segment);
    close(write_fd);
    close(read_fd);
}
END_TEST

START_TEST(what_the_writer_stores_the_reader_sees)
{
    struct segment_header header = header_of(8192);
    struct segment writer, reader;
    int write_fd, read_fd;
    ck_assert_int_eq(segment_create(&header, &write_fd, &read_fd, NULL), 0);
    ck_assert_int_eq(segment_map(&writer, write_fd, true, &header, NULL), 0);
    ck_assert_int_eq(segment_map(&reader, read_fd, false, &header, NULL), 0);
    strcpy((char *)writer.base + 100, "here");
    ck_assert_str_eq((char *)reader.base + 100, "here");
    segment_unmap(&writer);
    segment_unmap(&reader);
    close(write_fd);
    close(read_fd);
}
END_TEST

START_TEST(another_layout_epoch_or_file_is_refused)
{
    struct segment_header header = header_of(8192);
    struct segment segment;
    struct error err;
    int write_fd, read_fd;
    ck_assert_int_eq(segment_create(&header, &write_fd, &read_fd, NULL), 0);

    struct segment_header other = header;
    other.epoch = 4;
    ck_assert_int_eq(segment_map(&segment, read_fd, false, &other, &err), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, "epoch is 3, expected 4"));
    other = header;
    other.size = 4096;
    ck_assert_int_eq(segment_map(&segment, read_fd, false, &other, &err), -EPROTO);

    struct segment_header spoiled = header;
    spoiled.version = 99;
    ck_assert_int_eq(pwrite(write_fd, &spoiled, sizeof(spoiled), 0), sizeof(spoiled));
    ck_assert_int_eq(segment_map(&segment, read_fd, false, &header, &err), -EPROTO);
    close(write_fd);
    close(read_fd);
}
END_TEST

RUN_SUITE("segment", the_size_is_sealed_and_nobody_maps_it_writable_again,
          what_the_writer_stores_the_reader_sees, another_layout_epoch_or_file_is_refused)
