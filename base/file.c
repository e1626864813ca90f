#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int file_read_at(int fd, uint64_t offset, void *to, size_t bytes)
{
    char *at = to;
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return -EINVAL;
    while (bytes > 0) {
        const ssize_t n = pread(fd, at, bytes, (off_t)offset);
        if (n == 0)
            return -EIO;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            bytes -= (size_t)n;
            offset += (uint64_t)n;
        }
    }
    return 0;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 29;
}

uint64_t file_hash(uint64_t hash, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    const unsigned char *const end = at + len;
    uint64_t word;
    for (; (size_t)(end - at) >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        hash = mix(hash, word);
    }
    word = 0;
    memcpy(&word, at, (size_t)(end - at));
    return mix(mix(hash, word), len);
}
