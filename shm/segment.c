#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/ring.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { SEGMENT_MAGIC = 0x474E5254 }; /* "TRNG" */

static uint32_t crc32_of(const void *bytes, size_t len)
{
    const unsigned char *b = bytes;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < len; i++) {
        crc ^= b[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static int memory_file(void)
{
    const int fd = memfd_create("tokenring", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd >= 0 || errno != EINVAL)
        return fd;
    return memfd_create("tokenring", MFD_CLOEXEC | MFD_ALLOW_SEALING); /* kernel before 6.3 */
}

static int open_for_reading(int fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int fill(int fd, const struct segment_header *header)
{
    if (ftruncate(fd, (off_t)header->size) < 0)
        return -errno;
    const int r = posix_fallocate(fd, 0, (off_t)header->size);
    if (r != 0)
        return -r;
    if (pwrite(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header))
        return -EIO;
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0 ? -errno : 0;
}

int segment_create(struct segment_header *header, int *ret_write_fd, int *ret_read_fd,
                   struct error *err)
{
    header->magic = SEGMENT_MAGIC;
    header->version = SEGMENT_LAYOUT_VERSION;
    header->cell_bytes = sizeof(struct ring_cell);
    header->crc = crc32_of(header, offsetof(struct segment_header, crc));

    const int write_fd = memory_file();
    if (write_fd < 0)
        return error_set(err, -errno, "shared memory: memfd_create: %s", strerror(errno));
    const int r = fill(write_fd, header);
    if (r < 0) {
        close(write_fd);
        return error_set(err, r, "shared memory: %llu bytes cannot be had: %s",
                         (unsigned long long)header->size, strerror(-r));
    }
    const int read_fd = open_for_reading(write_fd);
    if (read_fd < 0) {
        const int problem = -errno;
        close(write_fd);
        return error_set(err, problem, "shared memory: /proc/self/fd: %s", strerror(-problem));
    }
    *ret_write_fd = write_fd;
    *ret_read_fd = read_fd;
    return 0;
}

static int check_header(const struct segment_header *found, const struct segment_header *wanted,
                        struct error *err)
{
    const struct {
        const char *name;
        uint64_t found, wanted;
    } fields[] = {
        { "magic", found->magic, SEGMENT_MAGIC },
        { "version", found->version, SEGMENT_LAYOUT_VERSION },
        { "cell size", found->cell_bytes, sizeof(struct ring_cell) },
        { "crc", found->crc, crc32_of(found, offsetof(struct segment_header, crc)) },
        { "kind", found->kind, wanted->kind },
        { "epoch", found->epoch, wanted->epoch },
        { "generation", found->generation, wanted->generation },
        { "cell count", found->num_cells, wanted->num_cells },
        { "bulk size", found->bulk_bytes, wanted->bulk_bytes },
        { "size", found->size, wanted->size },
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (fields[i].found != fields[i].wanted)
            return error_set(err, -EPROTO, "shared memory: %s is %llu, expected %llu",
                             fields[i].name, (unsigned long long)fields[i].found,
                             (unsigned long long)fields[i].wanted);
    return 0;
}

int segment_map(struct segment *segment, int fd, bool writable,
                const struct segment_header *expected, struct error *err)
{
    struct segment_header header;
    struct stat info;
    if (fstat(fd, &info) < 0 || (uint64_t)info.st_size != expected->size)
        return error_set(err, -EPROTO,
                         "shared memory: descriptor %d is not a segment of %llu bytes", fd,
                         (unsigned long long)expected->size);
    if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
        return error_set(err, -EPROTO, "shared memory: header cannot be read");
    const int r = check_header(&header, expected, err);
    if (r < 0)
        return r;
    void *base =
        mmap(NULL, expected->size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return error_set(err, -errno, "shared memory: mmap of %llu bytes: %s",
                         (unsigned long long)expected->size, strerror(errno));
    /* A kernel before 5.1 has no FUTURE_WRITE; then the sealing of sizes has to do. */
    if (writable && fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
        (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL);
    *segment = (struct segment){ .base = base, .size = expected->size };
    return 0;
}

void segment_unmap(struct segment *segment)
{
    if (segment->base != NULL)
        munmap(segment->base, segment->size);
    *segment = (struct segment){ 0 };
}
